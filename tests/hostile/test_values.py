"""Files that people write or edit hold any value at all: read, or refused in words they can use."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_memscan.checkpoints.config_file import read_config
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.cli.options import parse_settings
from napari_memscan.detection.planting.selftest import SelfTest
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import BadInput
from napari_memscan.jobs.experiment.plan import read_plan
from napari_memscan.jobs.training.monitor import read_log as read_monitor_log
from napari_memscan.report.supplementary import (
    read_duplicate_summary,
    read_evidence,
    read_membership,
)
from napari_memscan.report.verification import verify_release
from napari_memscan.review.plan_files import load_plan
from napari_memscan.review.truth import read_truth_table
from napari_memscan.samples import read_samples
from napari_memscan.study import Study
from napari_memscan.training.logs import read_log
from napari_memscan.volumes.importers import import_cohort

# The same examples each time: a test that fails once a month helps nobody.
repeatable = settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

NAMES = {
    "datalist": "training validation val synthetic image split subject_id spacing axes condition",
    "selftest": "format kinds harder notes level seed",
    "plan": "factors denoiser autoencoder n full steps",
    "evidence": "metrics embedder embedder_hash rule quantile scan interval key value",
    "membership": "attacks control attack rule settings separation interval rates training",
    "duplicates": "groups volumes suspected leaks n_training",
    "blind": "plan sha256 cases secrets refused panes answers transform number exhibit keys",
    "summary": "format rules calibration null warnings",
    "manifest": "format volumes files claims study detector samples sha256",
    "recipe": "format kind files autoencoder denoiser schedule",
    "study": "format cohort embedder generator preprocessing rule verification review release",
}


def values(words: str):
    """Return what JSON can hold, with names that a reader looks for."""
    names = st.sampled_from(words.split())
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 2**70),
        st.floats(allow_nan=False),
        st.text(max_size=5),
        st.sampled_from(["a.npy", "", ".", "..", "/", "x" * 300, "\0", "train", "val"]),
        names,
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(names | st.text(max_size=3), inner, max_size=5),
        ),
        max_leaves=12,
    )


def read_or_refuse(read, path: Path) -> None:
    try:
        read(path)
    except BadInput as error:
        refused = str(error)
    else:
        return
    assert path.name in refused or str(path.parent) in refused


JSON_READERS = {
    "datalist": ("list.json", import_cohort),
    "selftest": ("selftest.json", lambda path: SelfTest.load(path.parent)),
    "plan": ("plan.json", lambda path: read_plan(path.parent)),
    "evidence": ("evidence.json", lambda path: read_evidence(path.parent)),
    "membership": ("membership.json", lambda path: read_membership(path.parent)),
    "duplicates": ("duplicates.json", lambda path: read_duplicate_summary(path.parent)),
    "blind": ("1.json", load_plan),
    "summary": ("summary.json", lambda path: ScanResult.load(path.parent)),
    "manifest": ("manifest.json", lambda path: verify_release(path.parent)),
    "recipe": ("recipe.json", read_recipe),
    "config": ("config.json", read_config),
}


@pytest.mark.parametrize("kind", JSON_READERS)
def test_any_json_is_read_or_refused(kind, tmp_path):
    name, read = JSON_READERS[kind]
    np.save(tmp_path / "a.npy", np.arange(8.0).reshape(2, 2, 2))
    words = NAMES.get(kind, NAMES["recipe"])

    @repeatable
    @given(values(words))
    def check(value):
        (tmp_path / name).write_text(json.dumps(value))
        read_or_refuse(read, tmp_path / name)

    check()
    (tmp_path / name).write_text("[" * 100_000)
    read_or_refuse(read, tmp_path / name)


@repeatable
@given(st.dictionaries(st.sampled_from(NAMES["study"].split()), values(NAMES["study"])))
def test_any_study_is_opened_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "study.toml"
    try:
        text = tomli_w.dumps(value)
    except (TypeError, ValueError):
        return  # TOML has no such value.
    path.write_text(text, encoding="utf-8", errors="replace")
    read_or_refuse(Study.open, path)


TABLES = {
    "cohort.csv": (import_cohort, "path image split subject_id axes spacing"),
    "samples.csv": (read_samples, "sample path seed parent"),
    "truth.csv": (read_truth_table, "sample truth"),
    "memorisation.csv": (read_monitor_log, "step n n_copies share low high floor tau training"),
    "training.csv": (read_log, "step loss validation_loss"),
}


@pytest.mark.parametrize("name", TABLES)
def test_any_table_is_read_or_refused(name, tmp_path):
    read, words = TABLES[name]
    np.save(tmp_path / "a.npy", np.arange(8.0).reshape(2, 2, 2))
    cell = st.sampled_from([*words.split(), "a.npy", "train", "1", "", '"', "\0", "é", "x" * 300])
    text = st.lists(st.lists(cell, max_size=6).map(",".join), max_size=4).map("\n".join)

    @repeatable
    @given(text | st.text())
    def check(table):
        (tmp_path / name).write_bytes(table.encode("utf-8", "surrogatepass"))
        read_or_refuse(read, tmp_path / name)

    check()


@repeatable
@given(st.lists(st.from_regex(r"[ab](\.[ab]){0,2}=.{0,4}", fullmatch=True)))
def test_any_settings_are_read_or_refused(pairs):
    with suppress(BadInput):
        assert set(parse_settings(pairs)) == {pair[0] for pair in pairs}
