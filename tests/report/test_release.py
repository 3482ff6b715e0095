"""A release folder by itself: policies, clean headers, hashes, and what verification finds."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from itertools import product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from napari_memscan.detection.scan_vectors import scan_vectors
from napari_memscan.errors import BadInput
from napari_memscan.report import release
from napari_memscan.report.datasheet import PUBLISHER_QUESTIONS, UNANSWERED, compose_datasheet
from napari_memscan.report.de_identification import deidentify_scan
from napari_memscan.report.manifest import (
    ReleaseSelection,
    build_manifest,
    build_manifest_entry,
    summarise_decisions,
)
from napari_memscan.report.nifti_header import find_extra_content
from napari_memscan.report.policy import (
    READER_DECIDED_COPY,
    READERS_DISAGREE,
    READERS_UNSURE,
    SAMPLE_REPLACED,
    ReleasePolicy,
)
from napari_memscan.report.scrubbing import WITHHELD, Scrubber
from napari_memscan.report.verification import verify_release
from napari_memscan.typing import Verdict
from napari_memscan.volumes.volume import Volume

EMBEDDER = SimpleNamespace(name="pixels", hash="0123456789abcdef")
SHA = "0" * 64


# Policies


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("readers", ["called", "all", "none"])
@pytest.mark.parametrize("rule", [(), ("novel",), ("novel", "undecided")])
def test_every_combination_of_policy_verdict_and_decision(rule, readers, verdict):
    def status(*said, **options):
        return ReleasePolicy(rule, readers).outcome(verdict, said, **options).status

    by_rule = verdict in rule
    unread = {
        "called": "passed" if by_rule else "unread",
        "all": "unread",
        "none": "passed" if by_rule else "rejected",
    }
    assert status() == unread[readers]
    cleared = "rejected" if readers == "none" and not by_rule else "passed"
    assert status("not a copy") == status("not a copy", "not a copy") == cleared
    for said in product(("copy", "unsure", "not a copy"), repeat=2):
        if set(said) != {"not a copy"}:
            assert status(*said) == "rejected"
    assert status("copy") == status("unsure") == "rejected"
    assert status("not a copy", replaced=True) == status(replaced=True) == "rejected"


def test_what_keeps_a_volume_back_is_said():
    policy = ReleasePolicy(wanted=2)
    assert policy.outcome("novel", ["copy"]).why == READER_DECIDED_COPY
    assert policy.outcome("novel", ["unsure"]).why == READERS_UNSURE
    assert policy.outcome("novel", ["not a copy", "copy"]).why == READERS_DISAGREE
    assert policy.outcome("novel", [], replaced=True).why == SAMPLE_REPLACED
    assert policy.outcome("copy", ["not a copy"]).status == "unread"
    assert policy.outcome("copy", ["not a copy"] * 2).status == "passed"
    assert policy.outcome("copy", ["copy"]).status == "rejected"


# Texts without names


def test_names_are_taken_out_of_texts_and_words_stay():
    scrub = Scrubber(
        ["T003", "Ann", "12", "1200345", "", "x"], ["/data/ct/T003_left.nii.gz", "C:\\ct\\b7.npy"]
    )
    for text, clean in (
        ("/data/ct/T003_left.nii.gz: no date", f"{WITHHELD}: no date"),
        ("T003_left is short", f"{WITHHELD} is short"),
        ("knee_t003_right", f"knee_{WITHHELD}_right"),
        ("by Ann, 12 x 3", f"by {WITHHELD}, 12 x 3"),
        ("Annually 1200345", f"Annually {WITHHELD}"),
        ("see C:\\other\\place or ~/home", f"see {WITHHELD} or {WITHHELD}"),
        ("skipped smith^jane.dcm and 2.nii", f"skipped {WITHHELD} and {WITHHELD}"),
        ("a / b, https://spdx.org/x 1/2", "a / b, https://spdx.org/x 1/2"),
    ):
        assert scrub.text(text) == clean
    assert scrub.value({"Ann": ["Ann", 3, None, ("T003",)]}) == {
        "Ann": [WITHHELD, 3, None, (WITHHELD,)]
    }
    assert Scrubber().text("nothing is known") == "nothing is known"


# Headers


@pytest.fixture
def image(tmp_path):
    data = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    release.write_clean_volume(Volume(data, (0.6, 1 / 3, 2.5)), tmp_path, "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_what_is_written_is_clean(image, tmp_path):
    assert find_extra_content(image) == ""
    data = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    release.write_clean_volume(Volume(data), tmp_path, "b.nii.gz")
    assert find_extra_content(tmp_path / "b.nii.gz") == ""
    assert np.array_equal(nib.load(image).get_fdata(dtype=np.float32), data)


def packed(path, data, **options):
    path.write_bytes(gzip.compress(data, mtime=0, **options))


def test_whatever_else_a_file_holds_is_found(image, tmp_path):
    raw = gzip.decompress(image.read_bytes())
    other = tmp_path / "other.nii.gz"
    for field, value in (
        ("descrip", b"Jane"),
        ("aux_file", b"/data"),
        ("db_name", b"J"),
        ("toffset", 3),
        ("cal_max", 1),
        ("intent_name", b"J"),
    ):
        header = nib.Nifti1Header(raw[:348], check=False)
        header[field] = value
        packed(other, header.binaryblock + raw[348:])
        assert find_extra_content(other) == f"its header is not clean: fields {field}"
    packed(other, raw[:348] + b"\1\0\0\0" + raw[352:])
    assert find_extra_content(other) == "its header is not clean: an extension"
    packed(other, raw + b"Jane")
    assert find_extra_content(other) == "holds more than its voxels"
    packed(other, raw[:-4])
    assert find_extra_content(other) == "is cut off"
    packed(other, raw[:40])
    assert find_extra_content(other) == "is cut off"
    packed(other, b"\0" * 400)
    assert find_extra_content(other)
    other.write_bytes(image.read_bytes() + b"Jane")
    assert "something follows its end" in find_extra_content(other)
    other.write_bytes(image.read_bytes() + gzip.compress(b"Jane"))
    assert "something follows its end" in find_extra_content(other)
    other.write_bytes(image.read_bytes()[:-9])
    assert "does not end" in find_extra_content(other)
    other.write_bytes(raw)
    assert "not compressed" in find_extra_content(other)
    with gzip.open(other, "wb") as file:
        file.write(raw)
    assert "a name, comment or time" in find_extra_content(other)


def test_a_file_that_unpacks_to_much_more_is_not_unpacked(image, tmp_path):
    raw = gzip.decompress(image.read_bytes())
    packed(tmp_path / "bomb.nii.gz", raw + b"\0" * 300_000_000, compresslevel=9)
    import tracemalloc

    tracemalloc.start()
    assert find_extra_content(tmp_path / "bomb.nii.gz") == "holds more than its voxels"
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


# The folder


def test_names_are_in_one_order_however_many_there_are():
    assert release.ReleaseLayout(3).file(2) == "volume-0002.nii.gz"
    assert release.ReleaseLayout(12345).file(2) == "volume-00002.nii.gz"
    assert release.ReleaseLayout(3, "T2w").file(2) == "sub-0002/anat/sub-0002_T2w.nii.gz"
    samples = [f"s{i:06d}" for i in range(200)]
    first = release.shuffle_samples(samples, 1)
    assert sorted(first) == samples
    assert first == release.shuffle_samples(samples[::-1], 1) != release.shuffle_samples(samples, 2)
    places = np.corrcoef(np.arange(200), [int(s[1:]) for s in first])[0, 1]
    assert abs(places) < 0.2
    assert [s for s in release.shuffle_samples([*samples, "s000200"], 1) if s != "s000200"] == first


def test_lists_of_hashes_that_lead_elsewhere_are_refused():
    line = f"{SHA}  a.txt\n"
    assert release.parse_checksums(line) == {"a.txt": SHA}
    for text in (
        f"{SHA}  ../a",
        f"{SHA}  /etc/passwd",
        f"{SHA}  a/./b",
        f"{SHA}  ",
        "x  a",
        line + line,
        f"{SHA}  a\\b",
        f"{SHA} a",
    ):
        with pytest.raises(ValueError, match="is no"):
            release.parse_checksums(text)


def test_licences():
    assert "spdx.org/licenses/CC0-1.0.html" in release.compose_license(" CC0-1.0 ")
    assert release.compose_license("Ask us first.") == "Ask us first.\n"


# Verification


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release of three of four volumes, made of the parts that a study makes it of."""
    out = tmp_path_factory.mktemp("release") / "out"
    random = np.random.default_rng(0)
    volumes = random.random((4, 6, 6, 6), np.float32)
    result = scan_vectors(
        random.random((30, 20), np.float32),
        random.random((60, 20), np.float32),
        random.random((4, 20), np.float32),
        training_names=[f"/data/T{i}.nii.gz" for i in range(30)],
        synthetic_names=[f"/made/{i}.nii.gz" for i in range(4)],
        embedder=EMBEDDER,
        rule="size-matched",
        warnings=["/data/T3.nii.gz has no date"],
    )
    names = {f"/made/{i}.nii.gz": f"s00000{i}" for i in range(4)}
    result = deidentify_scan(result, names, Scrubber())
    judged = {s.name: s for s in result.samples}
    entries = []
    for i in range(3):
        file = release.ReleaseLayout(3).file(i + 1)
        sha = release.write_clean_volume(Volume(volumes[i], (1, 1, 2)), out, file)
        said = summarise_decisions({"R1": "not a copy"}, named=False)
        facts = {"sample": f"s00000{i}", "seed": str(i)}
        entries.append(
            build_manifest_entry(file, sha, facts, judged[f"s00000{i}"], said, "a reader")
        )
    value = build_manifest(
        title="Knees_of *Ward* 3",
        license="CC-BY-4.0",
        layout="plain",
        policy=ReleasePolicy(readers="all"),
        stated_rule=("novel",),
        selection=ReleaseSelection(4, 3, 0, {READER_DECIDED_COPY: 1}),
        result=result,
        no_power="",
        selftest=None,
        n_subjects=28,
        decisions={"events": 4, "head": SHA, "readers": 1, "store": "share"},
        volumes=entries,
    )
    release.write_json(out / "manifest.json", value)
    release.write_text(out / "datasheet.md", compose_datasheet(value, "Drawn.", ["3 of 6 x 6 x 6"]))
    release.write_text(out / "LICENSE", release.compose_license("CC-BY-4.0"))
    release.write_text(out / "report" / "index.html", "<html></html>")
    release.write_checksums(out)
    return out


@pytest.fixture
def out(made, tmp_path):
    return shutil.copytree(made, tmp_path / "out")


def faults(out, **options):
    return list(verify_release(out, **options).faults)


def edit(out, change):
    """Edit the manifest as somebody would who knows of the hashes."""
    value = json.loads((out / "manifest.json").read_text())
    change(value)
    release.write_json(out / "manifest.json", value)
    release.write_checksums(out)


def test_an_intact_release_says_what_it_claims(out):
    found = verify_release(out)
    assert found.intact
    assert found.n_files == 7
    text = str(found)
    assert "intact" in text
    assert "Knees_of *Ward* 3; licence: CC-BY-4.0" in text
    assert f"3 of 4 volumes released, 1 rejected ({READER_DECIDED_COPY}: 1)" in text
    assert "what the detector misses is not known" in text
    assert verify_release(out, found.fingerprint[:12].upper()).intact
    assert json.loads(found.to_json())["intact"]
    with pytest.raises(BadInput, match="hexadecimal"):
        verify_release(out, "abc")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
def test_other_programs_can_verify_it_too(out):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=out).returncode == 0
    (out / "LICENSE").write_text("Everything is allowed.\n")
    assert subprocess.run(command, cwd=out, capture_output=True).returncode == 1


def test_a_flipped_byte_is_found_in_every_file(out):
    for name in release.list_release_files(out):
        path = out / name
        before = path.read_bytes()
        middle = len(before) // 2
        path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
        assert f"{name}: changed" in faults(out)
        path.write_bytes(before)
    assert faults(out) == []


def test_missing_and_added_files_are_found(out):
    (out / "volume-0002.nii.gz").unlink()
    (out / ".hidden").write_text("")
    (out / "report" / "more.html").write_text("")
    (out / "smith" / "jane").mkdir(parents=True)
    assert faults(out) == [
        ".hidden: added",
        "report/more.html: added",
        "smith/: a folder that was added",
        "smith/jane/: a folder that was added",
        "volume-0002.nii.gz: missing",
    ]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_links_and_pipes_are_no_files(out, tmp_path):
    (out / "LICENSE").rename(tmp_path / "LICENSE")
    (out / "LICENSE").symlink_to(tmp_path / "LICENSE")
    os.mkfifo(out / "pipe")
    assert faults(out) == ["pipe: added", "LICENSE: a link or device in place of a file"]
    (out / "SHA256SUMS").unlink()
    os.mkfifo(out / "SHA256SUMS")
    assert "SHA256SUMS: cannot be read" in faults(out)[0]


def test_an_edited_manifest_contradicts_itself_even_with_new_hashes(out):
    whole = (out / "manifest.json").read_bytes()

    def found(change):
        edit(out, change)
        said = faults(out)
        (out / "manifest.json").write_bytes(whole)
        return said

    def released(key, value):
        return lambda m: m["volumes"][0].update({key: value})

    assert found(lambda m: None) == []
    decisions = {"copy": 1, "not a copy": 0, "unsure": 0}
    assert found(released("decisions", decisions)) == [
        f"volume-0001.nii.gz: the stated policy does not let it pass ({READER_DECIDED_COPY})"
    ]
    unread = {"copy": 0, "not a copy": 0, "unsure": 0}
    assert "does not let it pass" in found(released("decisions", unread))[0]
    assert "not the volume of which" in found(released("sha256", SHA))[0]
    assert found(lambda m: m["volumes"].pop()) == [
        "volume-0003.nii.gz: not in manifest.json",
        "manifest.json: its numbers of volumes do not add up",
    ]
    assert found(lambda m: m["selection"].update(rejected={})) == [
        "manifest.json: its numbers of volumes do not add up"
    ]
    assert found(
        lambda m: m["selection"].update(generated=5, rejected={READER_DECIDED_COPY: 2})
    ) == ["manifest.json: not all volumes that were made were scanned"]
    assert "a detector without power" in found(lambda m: m["scan"].update(no_power="why"))[0]
    assert "comes twice" in found(lambda m: m["volumes"].append(m["volumes"][0]))[0]
    for broken in (
        lambda m: m.pop("volumes"),
        lambda m: m.update(volumes=3),
        lambda m: m["policy"].update(wanted="many"),
        lambda m: m.update(selection={"generated": 1}),
        lambda m: m["scan"].update(q="a"),
        lambda m: m["volumes"][0].update(decisions=None),
    ):
        assert "cannot be understood" in found(broken)[-1]


def test_a_release_made_anew_as_a_whole_shows_by_its_noted_fingerprint(out):
    noted = verify_release(out).fingerprint
    edit(out, lambda m: m.update(title="Other"))
    assert faults(out) == []
    assert faults(out, expect=noted) == ["SHA256SUMS: not the one whose fingerprint was noted"]


def test_a_header_that_holds_more_is_found_even_with_new_hashes(out):
    path = out / "volume-0001.nii.gz"
    image = nib.load(path)
    image.header["descrip"] = b"Jane"
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    edit(out, lambda m: m["volumes"][0].update(sha256=release.hash_file(path)))
    assert faults(out) == ["volume-0001.nii.gz: its header is not clean: fields descrip"]


def test_lists_and_manifests_that_are_none(out, tmp_path):
    (out / "manifest.json").write_text("[" * 100_000)
    assert "cannot be understood" in faults(out)[-1]
    (out / "manifest.json").unlink()
    assert faults(out) == ["manifest.json: missing"]
    (out / "SHA256SUMS").write_text(f"{SHA}  ../../etc/passwd\n")
    with pytest.raises(BadInput, match="no release there"):
        verify_release(tmp_path)
    assert "SHA256SUMS: cannot be read" in faults(out)[0]
    release.write_checksums(out)
    assert "manifest.json: not in SHA256SUMS, and belongs to every release" in faults(out)


def test_a_newer_release_is_told(out):
    edit(out, lambda m: m.update(format=99))
    with pytest.raises(BadInput, match="format 99, this memscan reads 1"):
        verify_release(out)


# The datasheet


def test_the_datasheet_answers_what_is_known_and_leaves_the_rest_open(out):
    text = (out / "datasheet.md").read_text()
    for heading in (
        "Motivation",
        "Composition",
        "Collection process",
        "Uses",
        "Distribution",
        "Preprocessing, cleaning, labelling",
        "Maintenance",
    ):
        assert f"\n## {heading}\n" in text
    assert text.count(UNANSWERED) == len(PUBLISHER_QUESTIONS)
    assert "# Datasheet: Knees\\_of \\*Ward\\* 3" in text
    assert "4 volumes were made; 1 were rejected" in text
    assert "30 volumes of 28 people" in text
    value = json.loads((out / "manifest.json").read_text())
    answers = {name: f"Answer to {name}." for name in PUBLISHER_QUESTIONS}
    full = compose_datasheet(value, "Drawn.", ["3 of 6 x 6 x 6"], answers)
    assert UNANSWERED not in full
    for name, question in PUBLISHER_QUESTIONS.items():
        assert f"**{question}** Answer to {name}." in full
