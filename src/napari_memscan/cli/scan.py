"""The command ``scan``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption, SetOption, TrustOption
from napari_memscan.embedders import LOW_RESOLUTION
from napari_memscan.errors import BadInput
from napari_memscan.files import make_absolute
from napari_memscan.typing import Split

if TYPE_CHECKING:
    from napari_memscan.study import Study


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
        str, typer.Option(help="Without a study: checkpoint of an embedder, or low-resolution.")
    ] = LOW_RESOLUTION,
    set_: SetOption = None,
    trust: TrustOption = False,
    out: Annotated[
        Path | None, typer.Option(help="Without a study: make one there, for review and report.")
    ] = None,
    json: JsonOption = False,
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
        if given or out is not None or embedder != LOW_RESOLUTION:
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
    cohort = import_folder(training, Split.TRAINING).join_cohorts(
        import_folder(validation, Split.VALIDATION)
    )
    cohort.check()
    trained = embedder != LOW_RESOLUTION
    model = resolve_model_path(embedder, Path.cwd()) if trained else embedder
    declared = ModelOverrides.parse(pairs).absolute()
    loaded = load_embedder(model, declared=declared, trust=trust)
    preprocessing = choose_preprocessing(loaded, training)
    config = StudyConfig(
        name=f"Scan of {make_absolute(synthetic).name}",
        generator=GeneratorConfig(kind="folder", path=str(make_absolute(synthetic))),
        embedder=model,
        embedder_declared=declared.to_dict(),
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
        if made.absolute_config() != plan.absolute_config() or made.cohort.rows() != cohort.rows():
            raise BadInput(
                f"{out}: holds a study over other volumes or settings. Choose another folder, or "
                f"scan that one: memscan scan {out}"
            )
        yield made
    else:
        yield Study.create(out, config, cohort)
