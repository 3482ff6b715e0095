"""The release of a study: what passed, with its evidence, in a folder that can be handed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_memscan.errors import BadInput, Hint, HintKind
from napari_memscan.files import build_folder, write_json, write_text
from napari_memscan.jobs.release.consistency import abbreviate_names
from napari_memscan.jobs.release.de_identification import ReleaseDocuments
from napari_memscan.jobs.release.eligibility import (
    ReleaseAssessment,
    assess_release,
    assess_samples,
    require_read,
)
from napari_memscan.progress import Progress
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.report.manifest import ReleaseSelection
    from napari_memscan.volumes.volume import Volume


@dataclass(frozen=True)
class WrittenRelease:
    """A release that was written.

    Attributes
    ----------
    folder : str
        Where.
    selection : ReleaseSelection
        How many volumes there were, and what became of them.
    fingerprint : str
        Stands for every byte of it: to be noted elsewhere.
    warnings : tuple of str
        What the publisher should know first.
    """

    folder: str
    selection: ReleaseSelection
    fingerprint: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ReleasePreview:
    """What a release of a study would hold now.

    Attributes
    ----------
    selection : ReleaseSelection
        How many volumes there are, and what would become of them.
    passed : dict of str to int
        What lets volumes pass, and how many.
    unread : tuple of str
        Samples that somebody must read first.
    warnings : tuple of str
        What the publisher should know first.
    stopped : str
        Why nothing could be released; empty where it could.
    """

    selection: ReleaseSelection
    passed: dict[str, int]
    unread: tuple[str, ...]
    warnings: tuple[str, ...]
    stopped: BadInput | None


def preview_release(study: Study) -> ReleasePreview:
    """Return what a release would hold now; nothing is written.

    Parameters
    ----------
    study : Study

    Raises
    ------
    BadInput
        Not scanned since the last sample.
    JobFailed
        The chain of decisions is broken.
    """
    found, n = assess_samples(study), study.config.release.n
    stopped = None
    try:
        require_read(study, found)
        select_released(study.config.seed, found, n)
    except BadInput as error:
        stopped = error
    selection = _build_selection(found, min(len(found.passed), n or len(found.passed)))
    return ReleasePreview(
        selection, _count_reasons(found.passed), tuple(found.unread), found.warnings, stopped
    )


def release_volumes(
    study: Study,
    out: str | Path,
    *,
    license: str = "",
    n: int | None = None,
    bids: str = "",
    dicom: bool = False,
    names: bool = False,
    expect: str = "",
) -> Generator[Progress, None, WrittenRelease]:
    """Write the volumes that passed, with all that is claimed of them; the same bytes each time.

    Parameters
    ----------
    study : Study
        Scanned, and read as its ``[release]`` asks.
    out : path
        A new folder, an empty one, or an earlier release, which is then replaced.
    license, n, bids, dicom
        Go before what ``[release]`` says.
    names : bool
        Readers by name, and times of their decisions; else R1, R2 ... and no times.
    expect : str
        A head of the decisions noted earlier: it must be in the chain.

    Yields
    ------
    Progress
        After each volume.

    Raises
    ------
    BadInput
        Something is unread under the policy, the scan is older than the samples, no licence is
        stated, fewer pass than are wanted, or `out` does not do. Nothing is written.
    JobFailed
        The chain of decisions is broken, or the folder cannot be written.
    """
    from napari_memscan.report.datasheet import compose_datasheet
    from napari_memscan.report.dicom import write_series
    from napari_memscan.report.release import (
        DATASHEET,
        LICENSE,
        MANIFEST,
        REPORT,
        ReleaseLayout,
        check_release_target,
        compose_license,
        write_bids_files,
        write_checksums,
        write_clean_volume,
    )

    config = study.config.release
    license, bids, n = license or config.license, bids or config.bids, n or config.n
    dicom = dicom or config.dicom
    if not license.strip():
        raise BadInput(
            "no licence is stated, neither in study.toml (license below [release]) nor here.",
            Hint(HintKind.LICENSE),
        )
    if bids and not (bids.isascii() and bids.isalnum()):
        raise BadInput(f"bids '{bids}': a suffix of letters is expected, such as T1w.")
    out = Path(out).absolute()
    with study.lock("release"):
        check_release_target(out, _list_forbidden_targets(study))
        found = assess_release(study, expect)
        chosen = select_released(study.config.seed, found, n)
        layout = ReleaseLayout(len(chosen), bids)
        files = {sample: layout.file(i) for i, sample in enumerate(chosen, 1)}
        selection = _build_selection(found, len(chosen))
        shown = ReleaseDocuments(study, found, files, names)
        hashes, kinds = {}, Counter[str]()
        with build_folder(out) as folder:
            for done, sample in enumerate(chosen, 1):
                volume = study.volume(study.sample_path(found.rows[sample]))
                kinds[_describe_shape(volume)] += 1
                hashes[files[sample]] = write_clean_volume(volume, folder, files[sample])
                if dicom:
                    write_series(folder, files[sample])
                yield Progress(done, len(chosen), f"wrote {files[sample]}")
            shown.report(folder / Path(REPORT).parent)
            layout_text = f"BIDS {bids}" if bids else "plain"
            if dicom:
                layout_text += ", and DICOM series"
            value = shown.manifest(hashes, selection, license=license, layout=layout_text)
            write_json(folder / MANIFEST, value)
            shapes = [f"{k} of {kind}" for kind, k in sorted(kinds.items())]
            sheet = compose_datasheet(value, shown.made, shapes, config.answers)
            write_text(folder / DATASHEET, sheet)
            write_text(folder / LICENSE, compose_license(license))
            if bids:
                write_bids_files(folder, shown.title, license, list(files.values()))
            fingerprint = write_checksums(folder)
        return WrittenRelease(str(out), selection, fingerprint, found.warnings)


def select_released(seed: int, found: ReleaseAssessment, n: int | None) -> list[str]:
    """Return the samples that are released, in their order there.

    Parameters
    ----------
    seed : int
        Of their order.
    found : ReleaseAssessment
        Of a study's samples.
    n : int or None
        So many of those that pass; None for all.

    Raises
    ------
    BadInput
        Fewer pass than are wanted, or none does.
    """
    from napari_memscan.report.release import shuffle_samples

    order = shuffle_samples(found.passed, seed)
    if not order or (n is not None and len(order) < n):
        raise BadInput(
            f"{len(order)} of {len(found.rows)} volumes pass, {n or 1} are wanted "
            f"({_describe_rejections(found) or 'there are no others'}). Generate more, or read on."
        )
    return order[:n]


def _build_selection(found: ReleaseAssessment, n: int) -> ReleaseSelection:
    from napari_memscan.report.manifest import ReleaseSelection

    return ReleaseSelection(
        len(found.rows), n, len(found.passed) - n, _count_reasons(found.rejected)
    )


def _count_reasons(reasons: Mapping[str, str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons.values()).items()))


def _list_forbidden_targets(study: Study) -> dict[str, Path]:
    """Return what a release must not lie among: it would be taken for volumes of the study."""
    used = {f"the volume {row.path}": Path(row.path) for row in study.cohort.rows()}
    used |= {"the samples of the study": study.synthetic_dir, "the study": study.folder / "scan"}
    config = study.config.generator
    if config is not None and config.external:
        used["the folder of synthetic volumes"] = study.resolve(config.path)
    return used


def _describe_rejections(found: ReleaseAssessment) -> str:
    reasons = []
    for why in sorted(set(found.rejected.values())):
        samples = [s for s, reason in found.rejected.items() if reason == why]
        reasons.append(f"{why}: {abbreviate_names(samples)}")
    return "; ".join(reasons)


def _describe_shape(volume: Volume) -> str:
    size = " x ".join(map(str, volume.data.shape)) + " voxels"
    if volume.spacing is None:
        return f"{size}, voxel size unknown"
    return f"{size} of {' x '.join(f'{z:.4g}' for z in volume.spacing)} mm"
