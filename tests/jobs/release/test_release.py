"""What leaves the house: only what passed, with nothing in it that names a patient or a reader."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_memscan import jobs
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.report.release import write_checksums
from napari_memscan.report.verification import verify_release
from napari_memscan.samples import SampleRow
from napari_memscan.study import Study
from napari_memscan.typing import Verdict
from napari_memscan.volumes.reader import read_volume

VERDICTS = (
    Verdict.COPY,
    Verdict.NEAR_DUPLICATE,
    Verdict.UNDECIDED,
    Verdict.NOVEL,
    Verdict.NOVEL,
    Verdict.NOVEL,
)


@pytest.fixture(scope="module")
def judged_study(make_study, tmp_path_factory):
    """Six samples with verdicts that a scan of so few volumes could not give, and power."""
    study = make_study(
        tmp_path_factory.mktemp("judged") / "study",
        name="Ward 3",
        verification={"enabled": False},
        rule={"name": "size-matched"},
    )
    jobs.run_job(jobs.generate_volumes(study, 6, batch=1, precision="float32", memory="contiguous"))
    scanned(study)
    return study


@pytest.fixture
def study(judged_study, copy_study, tmp_path):
    return copy_study(judged_study, tmp_path / "study")


def scanned(study, verdicts=VERDICTS, no_power="", **changes):
    jobs.run_job(jobs.scan_study(study))
    result = ScanResult.load(study.scan_dir)
    number = {row.sample: i for i, row in enumerate(study.samples())}
    samples = tuple(
        replace(s, verdict=verdicts[number[s.name] % len(verdicts)]) for s in result.samples
    )
    # Warnings as an importer may write them: with the name of a file and of a patient.
    row = study.cohort.rows("training")[0]
    warned = f"{row.path}: no date; {Path(row.path).name} of {row.subject_id}"
    values = {"samples": samples, "warnings": (*result.warnings, warned)} | changes
    values["rules"] = tuple(replace(rule, note=no_power) for rule in result.rules)
    replace(result, **values).save(study.scan_dir)


def decide(study, reader="Annabel Reader", **said):
    store = study.store()
    for sample, decision in said.items():
        row = next(row for row in study.samples() if row.sample == sample)
        evidence = study.hashes(row)
        store.record(sample, decision, reader, note="Mrs Smith, left knee", evidence=evidence)
    store.close()


def read_all(study, **changes):
    """Read what the program calls, or leaves undecided."""
    said = {"s000000": "copy", "s000001": "not a copy", "s000002": "unsure"}
    decide(study, **(said | changes))


def released(study, out, license="CC-BY-4.0", **options):
    return jobs.run_job(jobs.release_volumes(study, out, license=license, **options))


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def samples_of(out):
    return sorted(volume["sample"] for volume in manifest(out)["volumes"])


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# What passes


def test_only_what_passed_is_released_and_the_rest_is_counted(study, tmp_path):
    out = tmp_path / "out"
    read_all(study)
    made = released(study, out)
    assert samples_of(out) == ["s000001", "s000003", "s000004", "s000005"]
    assert str(made.selection) == (
        "4 of 6 volumes released, 2 rejected (a reader decided copy: 1, no reader was sure: 1)"
    )
    assert manifest(out)["selection"]["rejected"] == {
        "a reader decided copy": 1,
        "no reader was sure": 1,
    }
    found = verify_release(out, made.fingerprint[:12])
    assert found.faults == ()
    assert made.selection.released == len(list(out.glob("volume-*.nii.gz")))
    rows = {row.sample: row for row in study.samples()}
    for volume in manifest(out)["volumes"]:
        row = rows[volume["sample"]]
        there, was = read_volume(out / volume["file"]), read_volume(study.sample_path(row))
        assert np.array_equal(there.data, was.data)
        assert there.spacing == was.spacing
        assert hashlib.sha256((out / volume["file"]).read_bytes()).hexdigest() == volume["sha256"]
        assert volume["seed"] == row.seed
        assert volume["checkpoint_hash"] == row.checkpoint_hash != ""
        assert volume["source_sha256"] == study.sha256(study.sample_path(row))


def test_nothing_is_written_while_something_is_unread(study, tmp_path):
    with pytest.raises(BadInput, match=r"3 of 6 volumes are unread .*: s000000, s000001, s000002"):
        released(study, tmp_path / "out")
    decide(study, s000000="copy", s000001="not a copy")
    with pytest.raises(BadInput, match=r"1 of 6 .* s000002\.") as refused:
        released(study, tmp_path / "out")
    assert refused.value.hint == Hint(HintKind.READ, str(study.folder))
    study.update(release={"readers": "all"})
    with pytest.raises(BadInput, match=r"4 of 6 .*'all'.* s000002, s000003, s000004, s000005"):
        released(study, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [study.folder]


@pytest.mark.parametrize(
    ("release", "said", "passing"),
    [
        ({"readers": "none"}, {}, "345"),
        ({"readers": "none", "rule": ["novel", "undecided"]}, {}, "2345"),
        ({"readers": "none"}, {"s000001": "not a copy", "s000004": "copy"}, "35"),
        ({"rule": ["novel", "undecided"]}, {"s000000": "copy", "s000001": "not a copy"}, "12345"),
        (
            {"readers": "all"},
            dict.fromkeys([f"s00000{i}" for i in range(6)], "not a copy"),
            "012345",
        ),
        ({"n": 2}, {"s000000": "copy", "s000001": "copy", "s000002": "copy"}, None),
    ],
)
def test_policies(study, tmp_path, release, said, passing):
    study.update(release=release)
    decide(study, **said)
    made = released(study, tmp_path / "out")
    if passing is None:
        assert (made.selection.released, made.selection.left_out) == (2, 1)
    else:
        assert samples_of(tmp_path / "out") == [f"s00000{i}" for i in passing]
    assert verify_release(tmp_path / "out").faults == ()


def test_a_detector_without_power_clears_nothing(study, tmp_path):
    scanned(study, no_power="too few validation subjects")
    study.update(release={"readers": "none"})
    with pytest.raises(BadInput, match="0 of 6 volumes pass, 1 are wanted"):
        released(study, tmp_path / "out")
    study.update(release={})
    read_all(study)
    with pytest.raises(BadInput, match=r"3 of 6 .* without power of the detector"):
        released(study, tmp_path / "out")
    decide(study, s000003="not a copy", s000004="not a copy", s000005="copy")
    made = released(study, tmp_path / "out")
    assert samples_of(tmp_path / "out") == ["s000001", "s000003", "s000004"]
    assert made.warnings[0].startswith("the detector had no power")
    assert manifest(tmp_path / "out")["scan"]["no_power"]


def test_readers_who_disagree_keep_a_volume_back_and_are_told(study, tmp_path):
    read_all(study)
    decide(study, reader="Ben", s000001="copy", s000003="unsure")
    made = released(study, tmp_path / "out")
    assert samples_of(tmp_path / "out") == ["s000004", "s000005"]
    rejected = {"a reader decided copy": 1, "no reader was sure": 2, "readers disagree": 1}
    assert made.selection.rejected == rejected
    assert any("readers disagree" in w and "s000001" in w for w in made.warnings)
    # Who decides anew speaks with the last word, and an undone decision is none.
    decide(study, reader="Ben", s000001="not a copy")
    store = study.store()
    store.undo("Ben")
    store.close()
    with_ben = released(study, tmp_path / "out")
    assert with_ben.selection.rejected["readers disagree"] == 1


def test_each_reader_must_have_read_where_the_study_asks_for_it(study, tmp_path):
    study.update(review={"readers": "each"})
    read_all(study)
    decide(study, reader="Ben", s000001="not a copy")
    released(study, tmp_path / "out")
    decide(study, reader="Cem", s000000="copy")
    with pytest.raises(BadInput, match=r"1 of 6 .*each by 3 readers: s000001\."):
        released(study, tmp_path / "out")


def test_blind_answers_clear_nothing(study, tmp_path):
    read_all(study)
    store = study.store()
    store.undo("Annabel Reader")
    store.record("s000002", "not a copy", "Annabel Reader", stage="blind")
    store.close()
    with pytest.raises(BadInput, match=r"1 of 6 .* s000002"):
        released(study, tmp_path / "out")


def test_a_replaced_sample_is_never_released(study, tmp_path):
    decide(study, s000001="not a copy", s000002="not a copy")
    first = study.samples()[0]
    path = study.synthetic_dir / "s000006.nii.gz"
    shutil.copy(study.sample_path(first), path)
    study.add_samples([replace(first, sample="s000006", path=path.name, parent="s000000")])
    with pytest.raises(BadInput, match="1 samples are newer than the last scan: s000006"):
        released(study, tmp_path / "out")
    scanned(study, (*VERDICTS, Verdict.NOVEL))
    made = released(study, tmp_path / "out")
    assert "s000000" not in samples_of(tmp_path / "out")
    assert made.selection.rejected == {"replaced by another sample": 1}
    (one,) = (v for v in manifest(tmp_path / "out")["volumes"] if v["sample"] == "s000006")
    assert one["replaces"] == "s000000"


# What it refuses


def test_a_scan_that_is_not_of_these_samples_is_refused(study, tmp_path):
    read_all(study)
    out = tmp_path / "out"
    study.update(rule={"name": "dar2024"})
    with pytest.raises(BadInput, match="another rule or preprocessing than the last scan"):
        released(study, out)
    study.update(rule={"name": "size-matched"})
    path = study.sample_path(study.samples()[3])
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(BadInput, match="1 samples are not those that were scanned: s000003"):
        released(study, out)
    path.write_bytes(before)  # Restored without its time.
    assert released(study, tmp_path / "restored").selection.generated == len(study.samples())
    path.unlink()
    with pytest.raises(BadInput, match="files of 1 samples are missing: s000003"):
        released(study, out)
    assert not out.exists()


def test_a_file_that_is_not_the_one_that_was_read_is_refused(study, tmp_path):
    read_all(study)
    rows = study.samples()
    shutil.copy(study.sample_path(rows[0]), study.sample_path(rows[1]))
    scanned(study)
    with pytest.raises(BadInput, match="1 samples are not those that were read: s000001"):
        released(study, tmp_path / "out")


def test_a_broken_chain_is_refused(study, tmp_path):
    import sqlite3

    read_all(study)
    head = released(study, tmp_path / "out") and manifest(tmp_path / "out")["decisions"]["head"]
    released(study, tmp_path / "out", expect=head[:12])
    with pytest.raises(JobFailed, match="noted head is not in the chain"):
        released(study, tmp_path / "out", expect="0123456789ab")
    with sqlite3.connect(study.folder / "review.sqlite") as other:
        other.execute("DROP TRIGGER memscan_events_no_update")
        other.execute("UPDATE memscan_events SET decision = 'not a copy' WHERE id = 1")
    other.close()
    before = content(tmp_path / "out")
    with pytest.raises(JobFailed, match=r"chain of decisions is broken .*event 1"):
        released(study, tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_what_else_is_missing_is_told(study, make_study, tmp_path):
    with pytest.raises(BadInput, match="no licence is stated"):
        released(study, tmp_path / "out", license=" ")
    read_all(study)
    with pytest.raises(BadInput, match=r"4 of 6 volumes pass, 5 are wanted \(a reader decided"):
        released(study, tmp_path / "out", n=5)
    with pytest.raises(BadInput, match="a suffix of letters"):
        released(study, tmp_path / "out", bids="../T1w")
    with pytest.raises(BadInput, match="not scanned yet"):
        released(make_study(tmp_path / "new"), tmp_path / "out")
    with pytest.raises(BadInput, match=r"release\.rule\.0"):
        study.update(release={"rule": ["copy"]})
    with pytest.raises(BadInput, match="owner: known are purpose"):
        study.update(release={"answers": {"owner": "me"}})
    assert not (tmp_path / "out").exists()


def test_the_target_is_new_or_an_earlier_release(study, tmp_path):
    read_all(study)
    other = tmp_path / "other"
    other.mkdir()
    released(study, other)
    before = content(other)
    released(study, other, license="CC0-1.0")
    assert content(other) != before
    (other / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"not of an earlier release, .* \(notes\.txt\)"):
        released(study, other)
    (other / "notes.txt").unlink()
    (other / "datasheet.md").write_text("filled in by hand")
    with pytest.raises(BadInput, match=r"changed since \(datasheet\.md\)"):
        released(study, other)
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    for target, message in (
        (tmp_path / "file", "no folder"),
        (tmp_path / "full", "no earlier release"),
        (study.folder, "lies together with"),
        (tmp_path, "lies together with"),
        (study.synthetic_dir / "out", "lies together with the samples"),
    ):
        with pytest.raises(BadInput, match=message):
            released(study, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full", "other", "study"]


def test_a_release_that_is_stopped_leaves_nothing(study, tmp_path):
    read_all(study)
    job = jobs.release_volumes(study, tmp_path / "out", license="CC-BY-4.0")
    next(job)
    job.close()
    assert list(tmp_path.iterdir()) == [study.folder]


# What it says


def test_the_same_study_gives_the_same_bytes(study, tmp_path):
    read_all(study)
    first = released(study, tmp_path / "a")
    os.utime(study.sample_path(study.samples()[3]), (1, 1))
    second = released(Study.open(study.folder), tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    assert content(tmp_path / "a") == content(tmp_path / "b")
    # An order that says nothing of nearness and not of when they were made, by the study's seed.
    order = [volume["sample"] for volume in manifest(tmp_path / "a")["volumes"]]
    orders = {tuple(order)}
    for seed in (7, 8, 9):
        study.update(seed=seed)
        released(study, tmp_path / "c")
        orders.add(tuple(volume["sample"] for volume in manifest(tmp_path / "c")["volumes"]))
    assert len(orders) > 1


def unpacked(folder):
    """All bytes of a release, decompressed too, with the names of its files."""
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        yield path.relative_to(folder).as_posix().encode() + b"\n" + data
        if path.suffix == ".gz":
            yield gzip.decompress(data)


def name_patients(folder, row):
    """Let metrics and membership say what they might: a path in a note, a patient in a warning."""
    for name in ("evidence.json", "membership.json"):
        value = json.loads((folder / name).read_text())
        said = f"{row.path} of {row.subject_id}, as Annabel Reader said"
        for metric in value.get("metrics", ()):
            metric["note"] = said
        value["warnings"] = [*value.get("warnings", ()), said]
        (folder / name).write_text(json.dumps(value))


@pytest.mark.parametrize("bids", ["", "T1w"])
def test_no_patient_and_no_reader_is_named_anywhere(study, tmp_path, bids):
    row = study.cohort.rows("training")[1]
    study.update(name=f"Knees of {row.subject_id} at {study.folder}, by Annabel Reader")
    read_all(study)
    decide(study, reader="Q. Quirk", s000000="not a copy", s000003="not a copy")
    jobs.run_job(jobs.evaluate_metrics(study, ["authpct"]))
    jobs.run_job(jobs.evaluate_membership(study, "loss"))
    name_patients(study.scan_dir, study.cohort.rows("training")[0])
    out = tmp_path / "out"
    released(study, out, bids=bids)
    secrets = {"Annabel", "Quirk", "Mrs Smith", str(study.folder), str(tmp_path), os.sep + "tmp"}
    for row in study.cohort.rows():
        secrets |= {row.path, Path(row.path).name, Path(row.path).parent.as_posix(), row.subject_id}
        secrets.add(row.sha256)
    secrets -= {""}
    assert len(secrets) > 40
    store = study.store()
    secrets |= {event.time for event in store.history()}
    store.close()
    for data in unpacked(out):
        text = data.decode("latin-1")
        # The pictures in the page are base64, in which a name of four letters comes by chance.
        text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
        for secret in secrets:
            assert secret.casefold() not in text.casefold(), secret
    page = (out / "report" / "index.html").read_text()
    assert "histogram" in page.casefold()
    assert "Three planes" not in page  # No picture of a pair.
    for words in (
        "Published metrics",
        "Membership inference",
        "R1 and R2",
        "readers disagree",
        "Files behind",
    ):
        assert (words in page) == (words != "Files behind")
    assert "R1" in page
    assert "[withheld]" in page
    found = manifest(out)["volumes"][0]["decisions"]
    assert set(found) == {"copy", "not a copy", "unsure"}


def test_readers_by_name_if_it_is_asked_for(study, tmp_path):
    read_all(study)
    released(study, tmp_path / "out", names=True)
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "not a copy, Annabel Reader, 20" in page
    assert "Mrs Smith" not in page
    (one,) = (v for v in manifest(tmp_path / "out")["volumes"] if v["sample"] == "s000001")
    assert one["decisions"]["by"] == {"Annabel Reader": "not a copy"}
    assert verify_release(tmp_path / "out").intact


def test_headers_hold_nothing_but_the_voxel_size(make_study, phantoms, tmp_path):
    """Volumes made elsewhere come with whatever their headers hold, at any angle."""
    import nibabel as nib

    made = tmp_path / "made"
    made.mkdir()
    for i, row in enumerate(phantoms.rows("unseen")[:2]):
        volume = row.read()
        affine = np.array([[-0.6, 0, 0, 11], [0, 0.6, 0.01, -7], [0, -0.01, 0.7, 3], [0, 0, 0, 1]])
        image = nib.Nifti1Image(volume.data.astype(np.int16), affine)
        image.header["descrip"] = b"SMITH^JANE 1961"
        image.header["aux_file"] = b"/data/smith"
        image.header["db_name"] = b"SMITH"
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Jane Smith"))
        nib.save(image, made / f"smith_{i}.nii.gz")
    study = make_study(
        tmp_path / "study",
        verification={"enabled": False},
        rule={"name": "size-matched"},
        generator={"kind": "folder", "path": str(made)},
    )
    scanned(study, (Verdict.NOVEL,))
    out = tmp_path / "out"
    released(study, out, license="For research only.\nNo person may be identified.")
    for data in unpacked(out):
        assert b"smith" not in data.lower()
    for path in out.glob("*.nii.gz"):
        header = nib.load(path).header
        assert not header.extensions
        assert header["descrip"] == header["aux_file"] == header["db_name"] == b""
        assert np.allclose(header.get_zooms(), (0.6, 0.6, 0.7), atol=1e-3)
    assert (out / "LICENSE").read_text() == "For research only.\nNo person may be identified.\n"
    assert "Made elsewhere" in (out / "datasheet.md").read_text()
    assert verify_release(out).faults == ()
    with pytest.raises(BadInput, match="lies together with the folder of synthetic volumes"):
        released(study, made / "out")


def test_bids(study, tmp_path):
    study.update(release={"bids": "T1w", "license": "CC0-1.0", "answers": {"funding": "Nobody."}})
    assert Study.open(study.folder).config.release.bids == "T1w"
    read_all(study)
    out = tmp_path / "out"
    released(study, out, license="")
    assert (out / "sub-0004" / "anat" / "sub-0004_T1w.nii.gz").exists()
    assert json.loads((out / "dataset_description.json").read_text())["License"] == "CC0-1.0"
    table = (out / "participants.tsv").read_text().splitlines()
    assert table[:2] == ["participant_id\torigin", "sub-0001\tsynthetic"]
    assert len(table) == 5
    assert verify_release(out).intact
    sheet = (out / "datasheet.md").read_text()
    assert "**Who funded it?** Nobody." in sheet
    assert "**Who created it, and on behalf of whom?** *To be filled in" in sheet
    assert "6 volumes were made; 2 were rejected" in sheet
    assert "4 of 16 x 16 x 16 voxels of 0.6 x 0.6 x 0.6 mm" in sheet


def test_dicom_series_say_nothing_but_voxels(study, phantoms, tmp_path):
    row = phantoms.rows("training")[0]
    read_all(study)
    out = tmp_path / "out"
    made = released(study, out, dicom=True)
    assert "DICOM" in manifest(out)["layout"]
    assert verify_release(out).intact, str(verify_release(out))
    for file in out.glob("volume-*.nii.gz"):
        name = file.name.removesuffix(".nii.gz")
        volume, series = read_volume(file), read_volume(out / "dicom" / name)
        step = np.ptp(volume.data) / 65_000
        np.testing.assert_allclose(series.data, volume.data, rtol=0, atol=step)
        assert series.spacing == pytest.approx(volume.spacing)
    headers = [pydicom.dcmread(path) for path in sorted(out.rglob("*.dcm"))]
    uids = [header.SOPInstanceUID for header in headers]
    assert len(set(uids)) == len(uids) == 16 * made.selection.released
    for header in headers:
        assert header.PatientIdentityRemoved == "YES"
        assert header.PatientName.family_name == "Synthetic"
        dated = [e for e in header if e.VR in ("DA", "TM", "DT") and e.value]
        assert not dated
        assert not [e for e in header if e.tag.is_private]
    whole = b"".join(path.read_bytes() for path in sorted(out.rglob("*.dcm")))
    assert str(study.folder).encode() not in whole
    assert row.subject_id.encode() not in whole

    # A series that says more, or shows something else, does not pass with new hashes either.
    path = next(iter(sorted(out.rglob("*.dcm"))))
    header = pydicom.dcmread(path)
    header.PatientComments = "Mrs Smith, left knee"
    header.save_as(path)
    write_checksums(out)
    (fault,) = verify_release(out).faults
    assert fault.startswith(path.relative_to(out).as_posix())
    assert "something else than volume-" in fault
    path.unlink()
    write_checksums(out)
    assert verify_release(out).faults == (f"{path.relative_to(out).as_posix()}: missing",)
    shutil.rmtree(out / "dicom")
    write_checksums(out)
    assert "its DICOM series is missing" in verify_release(out).faults[0]
    # The same again, over what is damaged.
    again = released(study, tmp_path / "again", dicom=True)
    assert again.fingerprint == made.fingerprint


def test_a_study_says_nothing_of_releases_until_it_has_to(study):
    assert "[release" not in (study.folder / "study.toml").read_text()
    study.update(release={"n": 3})
    assert "[release]" in (study.folder / "study.toml").read_text()
    assert SampleRow("s", "p").parent == ""


def test_a_preview_counts_what_a_release_would_hold_and_writes_nothing(study, tmp_path):
    decide(study)
    before = content(study.folder)
    found = jobs.preview_release(study)
    assert found.unread == ("s000000", "s000001", "s000002")
    assert found.passed == {"the program says novel": 3}
    assert "3 of 6 volumes are unread" in str(found.stopped)
    # SQLite keeps two files beside one that somebody has open.
    now = {p: data for p, data in content(study.folder).items() if "sqlite-" not in p.name}
    assert now == before

    read_all(study)
    # Also while somebody's decision is being written.
    writer = sqlite3.connect(study.folder / "review.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    found = jobs.preview_release(study)
    writer.close()
    assert (found.unread, found.stopped) == ((), None)
    made = released(study, tmp_path / "out")
    assert found.selection == made.selection
    assert found.warnings == made.warnings
    study.update(release={"n": 5})
    assert "5 are wanted" in str(jobs.preview_release(study).stopped)
    study.update(release={"n": 2})
    assert jobs.preview_release(study).selection.released == 2
    assert jobs.preview_release(study).selection.left_out == 2
