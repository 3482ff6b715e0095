"""A scan finds planted copies, says what it cannot know, and repeats to the byte."""

from __future__ import annotations

import json

import numpy as np
import pytest

import napari_memscan
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.embedders.interface import BaseEmbedder
from napari_memscan.errors import BadInput
from napari_memscan.volumes.cache import ArrayCache
from napari_memscan.volumes.preprocessing import MinMax, Preprocessing
from napari_memscan.volumes.reader import write_nifti
from napari_memscan.volumes.volume import Volume

pytestmark = pytest.mark.slow


def scan(*volumes, **options):
    """The paper's rule on embeddings alone; the whole chain is tested in test_detector.py."""
    return napari_memscan.scan(*volumes, **{"verify": False, "rule": "dar2024"} | options)


def volumes(n, seed):
    random = np.random.default_rng(seed)
    cells = random.random((n, 6, 6, 6)).repeat(3, 1).repeat(3, 2).repeat(3, 3)
    return (cells + 0.05 * random.random((n, 18, 18, 18))).astype(np.float32)


@pytest.fixture(scope="module")
def arrays():
    training, validation, new = volumes(30, 1), volumes(24, 2), volumes(12, 3)
    random = np.random.default_rng(4)
    planted = training[[3, 17, 22]] * 2 + 0.1 * random.random((3, 18, 18, 18))
    return training, validation, np.concatenate([new, planted]).astype(np.float32)


@pytest.fixture(scope="module")
def folders(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    for name, group in zip(("training", "validation", "synthetic"), arrays, strict=True):
        for i, data in enumerate(group):
            write_nifti(Volume(data, (1, 1, 1)), root / name / f"{i:02d}.nii.gz")
    return root


def scan_folders(root, **options):
    names = ("training", "validation", "synthetic")
    return scan(*(root / name for name in names), **options)


def test_planted_copies_come_first_and_are_called(arrays):
    result = scan(*arrays)
    assert [s.name for s in result.samples[:3]] != []
    first = {s.name: s.neighbour for s in result.samples[:3]}
    assert first == {
        "synthetic[12]": "training[3]",
        "synthetic[13]": "training[17]",
        "synthetic[14]": "training[22]",
    }
    assert all(s.verdict == "copy" for s in result.samples[:3])
    assert result.n_copies == sum(s.verdict == "copy" for s in result.samples)
    assert result.n_mem >= 3
    assert (result.n_training, result.n_validation, result.n_synthetic) == (30, 24, 15)
    assert result.null_floor_copies == pytest.approx(1 - 0.95 ** (30 / 24))
    assert result.null_floor_mem == pytest.approx(1 - 0.95 ** (15 / 24))
    assert any("training-free" in w for w in result.warnings)


def test_paths_arrays_and_lists_give_the_same_numbers(arrays, folders):
    a, b = scan(*arrays), scan_folders(folders)
    assert a.threshold == pytest.approx(b.threshold, abs=1e-6)
    lists = [sorted((folders / n).iterdir()) for n in ("training", "validation", "synthetic")]
    assert scan(*lists).to_json() == b.to_json()


def test_two_scans_agree_to_the_byte_and_load_back(folders, tmp_path):
    for name in ("a", "b"):
        scan_folders(folders, cache=ArrayCache(tmp_path / "cache")).save(tmp_path / name)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["neighbours.parquet", "summary.json", "verdicts.parquet"]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert ScanResult.load(tmp_path / "a").to_json() == scan_folders(folders).to_json()


def test_json_holds_what_scripts_need(folders):
    value = json.loads(scan_folders(folders, k=2).to_json())
    wanted = {
        "threshold",
        "rule",
        "n_training",
        "n_validation",
        "n_synthetic",
        "n_copies",
        "n_mem",
        "null_floor_copies",
        "null_floor_mem",
        "samples",
    }
    assert wanted <= value.keys()
    assert {"name", "neighbour", "similarity", "verdict"} <= value["samples"][0].keys()
    assert len(value["samples"][0]["neighbours"]) == 2


def test_prints_counts_intervals_floor_and_direction(arrays):
    text = str(scan(*arrays))
    assert "N_copies" in text
    assert "95 % interval" in text
    assert "if nothing were memorised" in text
    assert "larger is nearer" in text
    assert "synthetic[12] -> training[3]" in text


def test_few_validation_volumes_give_an_order_but_no_verdict(arrays):
    training, validation, synthetic = arrays
    result = scan(training, validation[:19], synthetic)
    assert {s.verdict for s in result.samples} == {"undecided"}
    assert "no power at this validation size" in result.samples[0].reason
    assert {s.name for s in result.samples[:3]} == {f"synthetic[{i}]" for i in (12, 13, 14)}
    assert "no power" in str(result)


def test_the_same_file_in_training_and_validation_is_named(folders):
    files = sorted((folders / "training").iterdir())
    with pytest.raises(BadInput, match="same file"):
        scan(files, files[:2], folders / "synthetic")
    with pytest.raises(BadInput, match="more than once"):
        scan([files[0], files[0]], folders / "validation", folders / "synthetic")


def test_too_few_volumes_and_wrong_shapes_are_messages(arrays):
    training, validation, synthetic = arrays
    with pytest.raises(BadInput, match="at least 2 and 1"):
        scan(training[:1], validation, synthetic)
    with pytest.raises(BadInput, match="at least 2 and 1"):
        scan(training, validation[:0], synthetic)
    with pytest.raises(BadInput, match="no synthetic"):
        scan(training, validation, synthetic[:0])
    with pytest.raises(BadInput, match=r"\(N, X, Y, Z\)"):
        scan(training[0], validation, synthetic)
    with pytest.raises(BadInput, match="smaller than the embedder's grid"):
        scan(training[:, :8], validation[:, :8], synthetic[:, :8])
    broken = synthetic.copy()
    broken[2, 0, 0, 0] = np.inf
    with pytest.raises(BadInput, match=r"synthetic\[2\]"):
        scan(training, validation, broken)


def test_preprocessing_is_the_callers_choice_and_recorded(arrays):
    recipe = Preprocessing(shape=(16, 16, 16), intensity=MinMax())
    result = scan(*arrays, preprocessing=recipe)
    assert result.preprocessing == recipe.model_dump(mode="json")


def test_a_damaged_result_is_a_message(folders, tmp_path):
    with pytest.raises(BadInput, match="Scan again"):
        ScanResult.load(tmp_path)
    scan_folders(folders).save(tmp_path)
    (tmp_path / "verdicts.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match="Scan again"):
        ScanResult.load(tmp_path)
    scan_folders(folders).save(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"surprise": 1}))
    with pytest.raises(BadInput, match="surprise"):
        ScanResult.load(tmp_path)


def test_a_long_result_prints_its_first_twenty(arrays):
    training, validation, _ = arrays
    result = scan(training, validation, volumes(23, 9))
    assert str(result) == repr(result)
    assert str(result).rstrip().endswith("and 3 more")


def test_a_constant_vector_is_named_by_its_volume(arrays):
    class Blind(BaseEmbedder):
        name, hash, dim = "blind", "0" * 16, 4

        def _embed_volume(self, volume):
            return np.ones(4, np.float32)

    with pytest.raises(BadInput, match=r"training vector 0 \(training\[0\]\) has the same value"):
        scan(*arrays, embedder=Blind())


@pytest.mark.parametrize(
    ("threshold", "digits"),
    [(-0.2, 3), (0.82, 3), (0.99, 3), (0.995, 4), (0.9995, 5), (0.99999, 6), (1.0, 6)],
)
def test_similarities_near_1_are_shown_with_more_decimals(threshold, digits):
    from napari_memscan.detection.results.scan_result import choose_decimals

    assert choose_decimals(threshold) == digits
    # Two that lie on either side of the threshold by a tenth of its distance to 1 look different.
    gap = max(1 - threshold, 1e-5)
    below, above = threshold - gap / 10, threshold + gap / 10
    assert f"{below:.{digits}f}" != f"{above:.{digits}f}"
