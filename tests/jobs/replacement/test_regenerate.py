"""Rejected samples are replaced until the program is content, or given up; killed jobs go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_memscan import jobs
from napari_memscan.checkpoints.latent_model import LatentModel
from napari_memscan.cli import app
from napari_memscan.detection.results.scan_result import ScanResult
from napari_memscan.errors import BadInput, Hint, HintKind, JobFailed
from napari_memscan.generators.sample import DenoisingStep, SamplingSettings
from napari_memscan.jobs.replacement import regenerate as regenerating
from napari_memscan.jobs.replacement.regenerate import derive_next_seed
from napari_memscan.samples import SampleRow
from napari_memscan.typing import Verdict


@pytest.fixture(scope="module")
def scanned(make_study, tmp_path_factory):
    """Two samples, scanned by their embeddings: what counts here is not how they are judged."""
    folder = tmp_path_factory.mktemp("scanned") / "study"
    study = make_study(folder, verification={"enabled": False})
    jobs.run_job(jobs.generate_volumes(study, 2, batch=1, precision="float32", memory="contiguous"))
    jobs.run_job(jobs.scan_study(study))
    return study


@pytest.fixture
def study(scanned, copy_study, tmp_path):
    return copy_study(scanned, tmp_path / "study")


@pytest.fixture
def calls(monkeypatch):
    """Names of samples that every scan calls copies, whatever they look like."""
    called: set[str] = set()
    load = ScanResult.load.__func__

    def loaded(cls, folder):
        result = load(cls, folder)
        samples = tuple(
            replace(s, verdict=Verdict("copy" if s.name in called else "novel"))
            for s in result.samples
        )
        return replace(result, samples=samples)

    monkeypatch.setattr(ScanResult, "load", classmethod(loaded))
    return called


def decide(study, reader="reader", **decisions):
    store = study.store()
    for sample, decision in decisions.items():
        store.record(sample, decision, reader)
    store.close()


def written(study):
    return {
        path.name: path.read_bytes()
        for path in study.synthetic_dir.iterdir()
        if not path.name.startswith(".")
    }


def test_it_tries_again_while_the_replacement_is_called(study, calls):
    calls |= {"s000001", "s000002", "s000003"}
    made = jobs.run_job(jobs.regenerate_sample(study, "s000001"))
    assert (str(made), made.sample, made.replaced, made.gave_up) == (
        "s000004",
        "s000004",
        True,
        False,
    )
    assert [(a.sample, a.parent, a.verdict) for a in made.attempts] == [
        ("s000002", "s000001", "copy"),
        ("s000003", "s000002", "copy"),
        ("s000004", "s000003", "novel"),
    ]
    rows = study.samples()
    assert [row.parent for row in rows] == ["", "", "s000001", "s000002", "s000003"]
    assert [int(row.seed) for row in rows[2:]] == [a.seed for a in made.attempts]
    assert len({row.seed for row in rows}) == 5
    assert len({row.settings for row in rows}) == 1
    with pytest.raises(BadInput, match=r"s000001: replaced by s000004 already\. Regenerate that"):
        jobs.run_job(jobs.regenerate_sample(study, "s000001"))


def test_it_gives_up_says_so_and_goes_on_when_more_is_allowed(study, calls):
    calls |= {f"s{i:06d}" for i in range(5)}
    made = jobs.run_job(jobs.regenerate_sample(study, "s000000", tries=2))
    assert (made.gave_up, made.sample, len(made.attempts)) == (True, "s000003", 2)
    before = written(study)
    assert jobs.run_job(jobs.regenerate_sample(study, "s000000", tries=2)) == made
    assert written(study) == before
    more = jobs.run_job(jobs.regenerate_sample(study, "s000000", tries=4))
    assert (more.replaced, more.sample, more.attempts[:2]) == (True, "s000005", made.attempts)


def test_several_are_replaced_in_rounds_of_one_scan(study, calls, monkeypatch):
    scans = []
    scan = regenerating.scan_study
    monkeypatch.setattr(regenerating, "scan_study", lambda s: scans.append(1) or scan(s))
    calls |= {"s000000", "s000001", "s000003"}
    first, second = jobs.run_job(jobs.regenerate_samples(study, ["s000000", "s000001", "s000000"]))
    assert [a.sample for a in first.attempts] == ["s000002"]
    assert [a.sample for a in second.attempts] == ["s000003", "s000004"]
    assert len(scans) == 2


def test_a_job_stopped_anywhere_goes_on_and_gives_the_same_bytes(
    study, calls, scanned, copy_study, tmp_path
):
    calls |= {"s000000", "s000001", "s000003"}
    jobs.run_job(jobs.regenerate_samples(study, ["s000000", "s000001"]))
    whole = written(study)
    other = copy_study(scanned, tmp_path / "other")
    finished = False
    stop_after = 0
    while not finished:
        stop_after += 11
        job = jobs.regenerate_samples(other, ["s000000", "s000001"])
        for n, _ in enumerate(job):
            if n == stop_after:
                break
        else:
            finished = True
        job.close()
    assert stop_after > 14
    assert written(other) == whole


def test_it_stops_within_a_denoising_step(study, monkeypatch):
    steps = []
    denoise = LatentModel.denoise
    monkeypatch.setattr(
        LatentModel, "denoise", lambda self, *a: steps.append(1) or denoise(self, *a)
    )
    job = jobs.regenerate_sample(study, "s000000", guidance=1.0)
    for news in job:
        if isinstance(news, DenoisingStep):
            break
    job.close()
    assert len(steps) == 1
    assert len(study.samples()) == 2
    with study.lock("test"):  # The lock is free again.
        pass


def test_flagged_are_those_that_readers_or_the_program_say(study, calls):
    jobs.run_job(jobs.generate_volumes(study, 4))
    jobs.run_job(jobs.scan_study(study))
    calls |= {"s000001", "s000002", "s000003"}
    decide(study, s000000="copy", s000001="not a copy", s000003="unsure")
    # Another reader's word does not take it back.
    decide(study, reader="Second", s000000="not a copy")
    assert jobs.list_flagged(study) == ["s000000"]
    assert jobs.list_flagged(study, called=True) == ["s000000", "s000002"]
    assert jobs.list_flagged(study, decided=False, called=True) == ["s000002"]
    jobs.run_job(jobs.regenerate_samples(study, jobs.list_flagged(study, called=True)))
    # They stay in the list: the command again has nothing to do.
    assert jobs.list_flagged(study, called=True) == ["s000000", "s000002"]
    before = written(study)
    made = jobs.run_job(jobs.regenerate_samples(study, jobs.list_flagged(study, called=True)))
    assert [one.sample for one in made] == ["s000004", "s000005"]
    assert written(study) == before
    # A replacement that a reader rejects is replaced in its turn.
    decide(study, s000004="copy")
    assert jobs.list_flagged(study) == ["s000004"]
    assert str(jobs.run_job(jobs.regenerate_sample(study, "s000004"))) == "s000006"
    assert study.lineage()["s000006"] == "s000004"


def test_guidance_is_written_beside_the_sample_and_not_handed_on(study, monkeypatch):
    news = list(jobs.regenerate_sample(study, "s000000", guidance=1.5))
    assert sum("encoded" in getattr(n, "what", "") for n in news) == 8 + 6
    row = study.samples()[2]
    settings = SamplingSettings.parse(row.settings)
    assert settings.guidance.startswith("1.5:")
    assert replace(settings, guidance="") == SamplingSettings.parse(study.samples()[0].settings)
    # Latents are kept: nothing is encoded a second time.
    monkeypatch.setattr("napari_memscan.generators.ldm.LDMGenerator.encode_volume", None)
    jobs.run_job(jobs.regenerate_sample(study, "s000001", guidance=1.5))
    assert study.samples()[3].settings == row.settings
    # What is generated next, or replaced without it, is not guided.
    jobs.run_job(jobs.generate_volumes(study, 3))
    assert study.samples()[4].settings == study.samples()[0].settings
    jobs.run_job(jobs.regenerate_sample(study, "s000002"))
    assert "guidance" not in study.samples()[5].settings


def test_a_model_that_allows_no_guidance_is_sampled_without_where_that_will_do(study, monkeypatch):
    def refuse(*_):
        raise BadInput("latents are padded")

    monkeypatch.setattr("napari_memscan.generators.ldm.LDMGenerator.check_guidance", refuse)
    with pytest.raises(BadInput, match="padded"):
        jobs.run_job(jobs.regenerate_samples(study, ["s000000"], guidance=2.0))
    assert len(study.samples()) == 2
    (made,) = jobs.run_job(
        jobs.regenerate_samples(study, ["s000000"], guidance=2.0, must_guide=False)
    )
    assert study.samples()[2].sample == made.sample
    assert study.samples()[2].settings == study.samples()[0].settings
    assert made.unguided == "latents are padded"
    # Reported again, nothing is drawn.
    (made,) = jobs.run_job(
        jobs.regenerate_samples(study, ["s000000"], guidance=2.0, must_guide=False)
    )
    assert made.unguided == ""


def test_too_little_memory_is_a_message_and_nothing_is_lost(study, monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("out of memory")

    before = written(study)
    with monkeypatch.context() as patch:
        patch.setattr(LatentModel, "denoise", full)
        with pytest.raises(JobFailed, match=r"memory does not suffice .*finished is kept") as told:
            jobs.run_job(jobs.regenerate_sample(study, "s000000"))
        assert told.value.hint == Hint(HintKind.SAVE_MEMORY)
    with monkeypatch.context() as patch:
        patch.setattr("napari_memscan.generators.ldm.LDMGenerator.encode_volume", full)
        with pytest.raises(JobFailed, match="memory does not suffice to regenerate"):
            jobs.run_job(jobs.regenerate_sample(study, "s000000", guidance=1.0))
    assert written(study) == before
    made = jobs.run_job(jobs.regenerate_sample(study, "s000000", batch=2))
    assert made.replaced
    assert study.samples()[2].settings.startswith("batch=2 ")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tries": 0}, "at least one attempt"), ({"guidance": -1.0}, "from 0 to 100")],
)
def test_numbers_that_make_no_sense_are_refused(study, options, message):
    with pytest.raises(BadInput, match=message):
        jobs.run_job(jobs.regenerate_sample(study, "s000000", **options))
    assert len(study.samples()) == 2


def test_a_seed_follows_from_the_sample_that_is_replaced():
    row = SampleRow("s000003", "s000003.nii.gz", "3")
    seed = derive_next_seed(row)
    assert seed == derive_next_seed(row) != derive_next_seed(replace(row, sample="s000004"))
    assert derive_next_seed(row, [str(seed), str(seed + 1)]) == seed + 2


def test_the_command_prints_every_attempt_and_fails_where_it_gave_up(study, calls):
    from typer.testing import CliRunner

    runner = CliRunner()
    folder = str(study.folder)
    result = runner.invoke(app, ["regenerate", folder])
    assert result.exit_code == 2
    assert "nothing to regenerate: name samples such as s000003" in result.stderr
    decide(study, s000001="copy")
    calls |= {"s000002"}
    result = runner.invoke(app, ["regenerate", folder, "--flagged", "--tries", "1"])
    assert result.exit_code == 1
    assert "s000001: gave up after 1 attempt\n  s000002  seed " in result.stdout
    assert "1 of 1 still called after 1 attempts. More attempts: --tries 2." in result.stderr
    result = runner.invoke(app, ["regenerate", folder, "--flagged", "--json"])
    assert result.exit_code == 0
    assert '"replaced": true' in result.stdout
