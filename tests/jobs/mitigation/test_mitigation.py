"""Measures are compared on volumes of the same noise, with one ruler, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from napari_memscan import jobs
from napari_memscan.cli import app
from napari_memscan.config import GeneratorConfig, RuleConfig
from napari_memscan.detection.mitigation import (
    QUALITY_METRICS,
    UNSEEN_COVERAGE,
    MitigationComparison,
    MitigationMeasure,
)
from napari_memscan.detection.registration.verifier import Verifier
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.detection.statistics.proportions import Proportion
from napari_memscan.errors import BadInput
from napari_memscan.generators.guidance import Guidance
from napari_memscan.jobs.mitigation import mitigation as mitigating
from napari_memscan.jobs.mitigation.retraining import (
    collect_retraining_evidence,
    describe_untried_measures,
)
from napari_memscan.jobs.training.monitor import MonitorRecord, write_log
from napari_memscan.report.mitigation import (
    compose_mitigation_answer,
    format_mitigation,
    write_mitigation_page,
)
from napari_memscan.study import Study
from napari_memscan.typing import Verdict

WAY = {"batch": 1, "precision": "float32", "memory": "contiguous"}


@pytest.fixture
def study(make_study, tmp_path, monkeypatch):
    # Every volume is too near: this model has seen nobody.
    monkeypatch.setattr(Guidance, "threshold", lambda self, level: -1.0)
    return make_study(tmp_path / "study", verification={"enabled": False})


@pytest.fixture
def calls(monkeypatch):
    """Sample to verdict, whatever it looks like; all others are novel."""
    said: dict[str, str] = {}

    def judged(result):
        return replace(
            result,
            samples=tuple(
                replace(s, verdict=Verdict(said.get(s.name, "novel"))) for s in result.samples
            ),
        )

    load, of = ScanResult.load.__func__, mitigating.scan_study
    monkeypatch.setattr(ScanResult, "load", classmethod(lambda cls, f: judged(load(cls, f))))

    def scan(study):
        return judged((yield from of(study)))

    monkeypatch.setattr(mitigating, "scan_study", scan)
    return said


def test_measures_are_compared_and_the_study_is_left_alone(study, calls, monkeypatch):
    asked = []
    monkeypatch.setattr(mitigating, "estimate_missed", lambda study, result, *n: asked.append(n))
    jobs.run_job(jobs.generate_volumes(study, 8, **WAY))
    before = sorted(p for p in study.folder.rglob("*") if "cache" not in p.parts)
    # Of the eight plain ones two are copies; seeds 1 and 2.
    calls |= {"s000000": "copy", "s000001": "copy", "s000003": "undecided"}
    found = jobs.run_job(jobs.evaluate_mitigation(study, 7, guidance=2.0))
    plain, screened, guided, both = found.measures
    assert [m.name for m in found.measures] == [
        "plain",
        "screening",
        "guidance",
        "screening and guidance",
    ]
    assert (plain.drawn, plain.n, plain.copies, plain.undecided) == (7, 7, 2, 1)
    assert (screened.drawn, screened.n, screened.copies) == (10, 7, 0)
    assert (guided.drawn, guided.n, both.drawn, both.n) == (7, 7, 7, 7)
    # Called among all that were drawn for it, and not called among those that are left.
    assert asked == [(2, 5), (2, 7), (0, 7), (0, 7)]
    assert found.sizes == {"training": 8, "validation": 6, "quality": 7}
    assert all(set(m.quality) == {*QUALITY_METRICS, UNSEEN_COVERAGE} for m in found.measures)
    assert plain.quality["coverage"][0] is not None
    assert set(plain.others) == {"size-matched", "dar2024"}
    own = Study.open(study.folder / "mitigation")
    rows = own.samples()
    # Those that were there are used where they lie; of seed 8 nothing was asked at first.
    assert [row.path.startswith("../") for row in rows[:8]] == [True] * 7 + [False]
    assert len([row for row in rows if "guidance=2:" in row.settings]) == 11
    after = sorted(p for p in study.folder.rglob("*") if "cache" not in p.parts)
    assert [p for p in after if "mitigation" not in p.parts] == before
    page = (own.folder / "index.html").read_text()
    assert "screening and guidance" in page
    assert "http" not in page
    values = json.loads((own.folder / "mitigation.json").read_text())
    assert values == found.to_dict()


def test_a_resumed_run_finds_what_the_first_registered(make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(Guidance, "threshold", lambda self, level: -1.0)
    study = make_study(tmp_path / "study")
    jobs.run_job(jobs.evaluate_mitigation(study, 2, most=2))
    own = Study.open(study.folder / "mitigation", cache_dir=study.cache_dir)
    assert not (own.folder / "cache").exists()
    kept = sorted(study.cache_dir.rglob("[!.]*.npy"))
    monkeypatch.setattr(Verifier, "verify", lambda *_: pytest.fail("registered a second time"))
    again = Study.open(study.folder)
    jobs.run_job(jobs.evaluate_mitigation(again, 2, most=2))
    assert not (own.folder / "cache").exists()
    assert sorted(study.cache_dir.rglob("[!.]*.npy")) == kept


def test_it_goes_on_where_it_stopped_and_gives_the_same_bytes(study, calls, make_study, tmp_path):
    calls |= {"s000000": "copy"}
    jobs.run_job(jobs.evaluate_mitigation(study, 2))
    other = make_study(tmp_path / "other", verification={"enabled": False})
    last, finished = 5, False
    while not finished:
        last += 25
        job = jobs.evaluate_mitigation(other, 2)
        finished = (
            all(True for _ in zip(range(last), job, strict=False)) and next(job, None) is None
        )
        job.close()
    kept = ("mitigation.json", "index.html", "synthetic/samples.csv")
    for name in kept:
        one, two = ((s.folder / "mitigation" / name).read_bytes() for s in (study, other))
        assert one == two, name
    # Once more there is nothing to be drawn.
    count = len(Study.open(other.folder / "mitigation").samples())
    jobs.run_job(jobs.evaluate_mitigation(other, 2))
    assert len(Study.open(other.folder / "mitigation").samples()) == count


def test_it_gives_up_where_nothing_passes(study, calls):
    calls |= {f"s{i:06d}": "copy" for i in range(20)}
    found = jobs.run_job(jobs.evaluate_mitigation(study, 6, most=7))
    assert [(m.drawn, m.n) for m in found.measures] == [(6, 6), (7, 0), (6, 6), (7, 0)]
    # Those that have volumes are compared all the same.
    assert found.sizes["quality"] == 6
    assert [m.quality["coverage"][0] is None for m in found.measures] == [False, True, False, True]
    assert not found.passes(found.measures[-1])
    assert "none left" in compose_mitigation_answer(found)
    assert format_mitigation(found)


@pytest.fixture(scope="module")
def commanded(make_study, tmp_path_factory):
    """A study on which the command was given, and what it answered."""
    from typer.testing import CliRunner

    folder = tmp_path_factory.mktemp("commanded") / "study"
    study = make_study(folder, verification={"enabled": False})
    with pytest.MonkeyPatch.context() as patch:
        # Every volume is too near: this model has seen nobody.
        patch.setattr(Guidance, "threshold", lambda self, level: -1.0)
        return study, CliRunner().invoke(app, ["mitigation", str(folder), "-n", "2"])


def test_what_cannot_be_tried_is_refused(commanded, copy_study, tmp_path):
    study = copy_study(commanded[0], tmp_path / "study")
    for options in ({"n": 1}, {"n": 4, "most": 3}, {"n": 4, "guidance": 0.0}):
        with pytest.raises(BadInput, match="at least 2"):
            jobs.run_job(jobs.evaluate_mitigation(study, **options))
    study.update(rule=RuleConfig(q=0.3))
    with pytest.raises(BadInput, match="another model, embedder, rule"):
        jobs.run_job(jobs.evaluate_mitigation(study, 2))
    study.update(generator=GeneratorConfig(kind="folder", path=str(study.synthetic_dir)))
    with pytest.raises(BadInput, match="no model to try"):
        jobs.run_job(jobs.evaluate_mitigation(study, 2))


def made(copies=8, left=0, coverage=0.9):
    def measure(name, k, value):
        quality = dict.fromkeys((*QUALITY_METRICS, UNSEEN_COVERAGE), (0.5, (0.4, 0.6)))
        quality["coverage"] = (value, None)
        return MitigationMeasure(name, 32, 32, k, 1, 2, {"dar2024": 3}, quality, "not known")

    return MitigationComparison(
        "<b>Knees</b>",
        "abc",
        "conformal",
        32,
        2.0,
        {"training": 64, "validation": 48, "quality": 32},
        (measure("plain", copies, 1.0), measure("screening and guidance", left, coverage)),
        {"deduplication": "Not looked for."},
        ("few volumes",),
    )


@pytest.mark.parametrize(
    ("left", "coverage", "passes"),
    [(0, 0.9, True), (0, 1.2, True), (0, 0.89, False), (1, 1.0, False), (0, None, False)],
)
def test_the_goal_is_no_copy_and_little_loss(left, coverage, passes):
    found = made(left=left, coverage=coverage)
    assert found.passes(found.measures[1]) is passes


def test_the_page_says_it_in_plain_words_and_runs_nothing(tmp_path):
    found = made()
    assert compose_mitigation_answer(found) == (
        "Verified copies: 8 of 32 = 25.0% (11.5% to 43.4%) as the model samples, 0 of 32 = 0.0% "
        "(0.0% to 10.9%) with screening and guidance; coverage lost 10%. None left: up to 10.9% "
        "cannot be excluded with 32 volumes."
    )
    write_mitigation_page(tmp_path / "index.html", found)
    page = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;Knees" in page
    assert "<b>Knees" not in page
    assert "few volumes" in page
    assert "Not looked for." in page


def test_what_needs_another_training_says_what_is_known(study):
    assert all(text.startswith("Not ") for text in describe_untried_measures(study).values())
    folder = study.folder
    (folder / "scan").mkdir(exist_ok=True)
    (folder / "scan" / "duplicates.json").write_text(
        json.dumps({"groups": [{"volumes": ["a", "b", "c"]}], "n_training": 8})
    )
    said = describe_untried_measures(study)
    assert said["deduplication"].startswith("2 of 8 training volumes are there twice")


def look(step, n_copies):
    return MonitorRecord(
        step, 8, n_copies, n_copies / 8, 0.0, 1.0, 0.05, 0.9, None, 0, None, None, None, "t"
    )


def test_trainings_that_were_tried_have_copies_before_and_after(study, tiny_ldm):
    folder = study.folder
    (folder / "experiment").mkdir()
    one = {
        "factor": "steps",
        "low": 1,
        "high": 4,
        "expected": "raises",
        "answer": "holds",
        "measure": "conformal",
        "counts": [[0, 9], [8, 9]],
        "note": "",
    }
    on = {
        "factor": "augmentation",
        "low": "off",
        "high": "on",
        "expected": "lowers",
        "answer": "cannot be told at this size",
        "counts": [[3, 9], [2, 9]],
        "measure": "verdict copy",
        "note": "few",
    }
    (folder / "experiment" / "answers.json").write_text(
        json.dumps({"deciding": "conformal", "answers": [one, one | {"measure": "dar2024"}, on]})
    )
    model = folder / "models" / "denoiser"
    write_log(model / "memorisation.csv", [look(100, 0), look(200, 1), look(300, 5)])
    said = describe_untried_measures(study)
    assert said["early stop"].startswith("While it trained, 0 of 8 volumes were called at step 100")
    assert "training" not in said
    # The checkpoint that the second look left.
    shutil.copytree(tiny_ldm, model / "best")
    recipe = json.loads((model / "best" / "recipe.json").read_text())
    recipe["provenance"] = {"denoiser": {"step": 200}}
    (model / "best" / "recipe.json").write_text(json.dumps(recipe))
    assert "early stop" not in describe_untried_measures(study)
    steps, augmentation, early = rows = collect_retraining_evidence(study)
    # In the direction in which copies are expected to become fewer, whatever grows.
    assert (steps.name, steps.change, steps.counted) == ("fewer steps", "4 -> 1", "conformal calls")
    assert (steps.before, steps.after) == (Proportion(8, 9), Proportion(0, 9))
    assert steps.difference.value == pytest.approx(-8 / 9)
    assert steps.difference.interval[1] < -0.4
    assert (augmentation.change, augmentation.counted) == ("off -> on", "verified copies")
    assert (augmentation.before, augmentation.after) == (Proportion(3, 9), Proportion(2, 9))
    assert (early.change, early.before, early.after) == (
        "300 -> 200 steps",
        Proportion(5, 8),
        Proportion(1, 8),
    )
    assert "chosen by what they show" in early.note
    found = replace(made(), retrained=rows)
    write_mitigation_page(folder / "page.html", found)
    for text in (format_mitigation(found), (folder / "page.html").read_text()):
        assert "8 of 9 (51.8% to 99.7%)" in text
        assert "0 of 9 (0.0% to 33.6%)" in text
        assert "-88.9%" in text
        assert "experiment/answers.json" in text
        assert "not how far two trainings differ by chance" in " ".join(text.split())
    values = found.to_dict()["retrained"][0]
    assert values["before"] == {"k": 8, "n": 9, "interval": list(Proportion(8, 9).interval)}
    assert values["difference_interval"] == list(steps.difference.interval)
    (folder / "experiment" / "answers.json").write_text("{}")
    with pytest.raises(BadInput, match="writes it again"):
        collect_retraining_evidence(study)


def test_the_command_prints_a_table(commanded, copy_study, tmp_path):
    from typer.testing import CliRunner

    study, result = commanded
    assert result.exit_code == 0, result.output
    assert "screening and guidance" in result.stdout
    assert "mitigation/index.html" in result.stderr
    study = copy_study(study, tmp_path / "study")
    result = CliRunner().invoke(app, ["mitigation", str(study.folder), "-n", "2", "--json"])
    assert len(json.loads(result.stdout)["measures"]) == 4
