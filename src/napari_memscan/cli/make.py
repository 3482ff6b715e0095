"""The commands ``generate``, ``embed`` and ``scan``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import SetOption, TrustOption
from napari_memscan.errors import BadInput

if TYPE_CHECKING:
    from napari_memscan.study import Study


class Sampler(StrEnum):
    """How to walk from noise to a volume."""

    DDIM = "ddim"
    DDPM = "ddpm"
    RFLOW = "rflow"


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def generate(
    study: Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)],
    n: Annotated[int, typer.Option("-n", "--number", min=1, help="Volumes in all.")] = 16,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the first volume. Default: the study's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Denoising steps. Default: the model's.")
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="Default: the model's.")] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of a conditional model, for all. Default: drawn by each seed."
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Volumes denoised at once; auto goes by processor and memory.")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="auto takes another than float32 only where it is much faster."),
    ] = Precision.AUTO,
    threads: Annotated[str, typer.Option(help="Of the processor, in each process.")] = "auto",
    decode: Annotated[
        str, typer.Option(help="whole, window, or auto: windows only where memory needs them.")
    ] = "auto",
    guidance: Annotated[
        float,
        typer.Option(min=0, max=100, help="Keep away from training volumes: 1 to 3; 0 is off."),
    ] = 0.0,
    until_clean: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Generate and scan until so many volumes pass; instead of -n."
        ),
    ] = None,
    at_most: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --until-clean: volumes in all, then give up. Default: 4 times N."
        ),
    ] = None,
) -> None:
    """Generate synthetic volumes with an LDM.

    Each has its own seed, and the same seed and settings give the same bytes. Volumes that are
    there already are not made again: a stopped command goes on, and a larger number adds the
    missing ones. A study goes on with the settings it was begun with. Under torchrun or srun
    the processes share the work.

    With --until-clean the study is scanned in between, and called volumes are left out of what is
    released, not deleted. Exit code 1 where too few passed.

    \b
    Examples:
      memscan generate audit -n 64
      memscan generate audit -n 64 --guidance 2
      memscan generate audit --until-clean 64
      memscan generate audit -n 16 --seed 1000 --steps 50
      memscan generate audit -n 16 --condition left
      memscan generate audit -n 4 --sampler ddpm --steps 1000
      torchrun --nproc-per-node 4 --no-python memscan generate audit -n 64
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    opened = Study.open(study)
    settings = {"batch": batch, "precision": str(precision), "threads": threads, "decode": decode}
    asked: dict[str, Any] = {"seed": seed, "steps": steps, "sampler": sampler, "tell": note}
    asked |= settings | {"guidance": guidance, "condition": condition}
    if until_clean is not None:
        with redirect_stdout(sys.stderr):
            found = run_with_progress(
                jobs.generate_until_clean(opened, until_clean, most=at_most, **asked), "generate"
            )
        say(str(found))
        if not found.enough:
            note("Too few passed. More volumes: --at-most; away from training: --guidance 2.")
            raise typer.Exit(1)
        return
    if at_most is not None:
        raise BadInput("--at-most: is for --until-clean.")
    job = jobs.generate_volumes(opened, n, **asked)
    with _detect_first_process() as first:
        made = run_with_progress(job, "generate", n) if first else jobs.run_job(job)
    if first:
        say(f"{opened.synthetic_dir}: {len(made)} new volumes, {len(opened.samples())} in all")
        note(f"Next: memscan scan {study}")


def embed(
    study: Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)],
) -> None:
    """Embed the volumes of a study ahead of the scan, with several processes.

    The vectors are kept in the study's cache, and the scan then only compares them. Volumes that
    have a vector are not read again.

    \b
    Examples:
      memscan embed audit
      torchrun --nproc-per-node 4 --no-python memscan embed audit
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    opened = Study.open(study)
    job = jobs.embed_cohort(opened)
    with _detect_first_process() as first:
        n = run_with_progress(job, "embed") if first else jobs.run_job(job)
    if first:
        say(f"{opened.cache_dir}: vectors of {n} volumes")
        note(f"Next: memscan scan {study}")


@contextmanager
def _detect_first_process() -> Iterator[bool]:
    """Say whether this is the first process of a job; let a failure be told once, by its own."""
    from napari_memscan.jobs import distributed as processes

    rank, _ = processes.get_rank_and_size()
    try:
        yield rank == 0
    except processes.PeerFailed as error:
        if rank == 0:
            raise
        raise typer.Exit(1) from error


def scan(
    study: Annotated[
        Path | None, typer.Argument(help="Folder of a study.", show_default=False)
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="Without a study: folder of the training volumes.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder of volumes the model has not seen.")
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Folder of the volumes to be scanned.")
    ] = None,
    embedder: Annotated[
        str,
        typer.Option(help="Without a study: checkpoint of an embedder, or low-resolution."),
    ] = "low-resolution",
    set_: SetOption = None,
    trust: TrustOption = False,
    out: Annotated[
        Path | None, typer.Option(help="Without a study: make one there, for review and report.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Find copies of training volumes.

    For each synthetic volume the candidates that a correlator and an embedder propose are
    registered, and the score is what is alike after that; larger is nearer. The conformal rule
    compares it with the scores of validation volumes: at most the share q of the called, 10 %
    unless study.toml says otherwise, is expected to be wrong. Copies and near-duplicates are told
    apart by limits learnt from copies planted in the study. The paper's rule, a threshold tau on
    similarities of embeddings, is reported beside it. A training-free embedder is used unless
    another is named.

    \b
    Examples:
      memscan scan audit
      memscan scan audit --json > scan.json
      memscan scan --training train/ --validation held-out/ --synthetic generated/
      memscan scan --training train/ --validation held-out/ --synthetic generated/ \\
          --embedder checkpoints/embedder --out audit
    """
    from napari_memscan import jobs
    from napari_memscan.study import Study

    folders = {"--training": training, "--validation": validation, "--synthetic": synthetic}
    given = [option for option, folder in folders.items() if folder is not None]
    if study is not None:
        if given or out is not None or embedder != "low-resolution":
            raise BadInput(
                f"{study}: a study names its own volumes and embedder. Leave the options out, or "
                "leave the study out."
            )
    elif len(given) < 3:
        missing = [option for option in folders if option not in given]
        raise BadInput(
            f"{' and '.join(missing)}: missing. Name a study, or the folders of training, "
            "validation and synthetic volumes."
        )
    # Libraries that print would spoil the JSON.
    with redirect_stdout(sys.stderr):
        if study is not None:
            opened = Study.open(study)
            result = run_with_progress(jobs.scan_study(opened), "scan")
        else:
            assert training is not None
            assert validation is not None
            assert synthetic is not None
            with _open_folder_study(
                training, validation, synthetic, out, embedder, set_ or [], trust
            ) as opened:
                result = run_with_progress(jobs.scan_study(opened), "scan")
    if json:
        say(result.to_json())
        return
    say(str(result))
    if study is not None or out is not None:
        note(f"Next: memscan review {study or out}")


@contextmanager
def _open_folder_study(
    training: Path,
    validation: Path,
    synthetic: Path,
    out: Path | None,
    embedder: str,
    pairs: list[str],
    trust: bool,
) -> Iterator[Study]:
    """Give a study over three folders: at `out`, or one that is gone afterwards."""
    from napari_memscan.checkpoints.overrides import ModelOverrides
    from napari_memscan.checkpoints.trusted.trust_check import resolve_model_path
    from napari_memscan.config import GeneratorConfig, StudyConfig
    from napari_memscan.detection.scan import choose_preprocessing
    from napari_memscan.embedders.loading import load_embedder
    from napari_memscan.study import Study
    from napari_memscan.volumes.importers import import_folder
    from napari_memscan.volumes.reader import list_volumes

    list_volumes(synthetic)  # A wrong folder is found before the large ones are read.
    cohort = import_folder(training, "training").join_cohorts(
        import_folder(validation, "validation")
    )
    cohort.check()
    trained = embedder != "low-resolution"
    model = resolve_model_path(embedder, Path.cwd()) if trained else embedder
    declared = ModelOverrides.parsed(pairs).absolute()
    loaded = load_embedder(model, declared=declared, trust=trust)
    preprocessing = choose_preprocessing(loaded, training)
    config = StudyConfig(
        name=f"Scan of {synthetic.resolve().name}",
        generator=GeneratorConfig(kind="folder", path=str(synthetic.resolve())),
        embedder=model,
        embedder_declared=declared.given(),
        embedder_trust=trust and trained,
        preprocessing=preprocessing,
    )
    if out is None:
        with tempfile.TemporaryDirectory(prefix="memscan-") as folder:
            yield Study.create(folder, config, cohort)
    elif (out / "study.toml").exists():
        made = Study.open(out)
        config = config.model_copy(update={"warnings": tuple(cohort.warnings)})
        plan = Study(made.folder, config, cohort)
        if made.toml() != plan.toml() or made.cohort.rows() != cohort.rows():
            raise BadInput(
                f"{out}: holds a study over other volumes or settings. Choose another folder, or "
                f"scan that one: memscan scan {out}"
            )
        yield made
    else:
        yield Study.create(out, config, cohort)
