"""The release of a study: what passed, with its evidence, in a folder that can be handed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_memscan.errors import BadInput
from napari_memscan.files import write_json, write_text
from napari_memscan.jobs.progress import Progress
from napari_memscan.jobs.releasable import Candidates, candidates, few, powerless
from napari_memscan.study import Study

if TYPE_CHECKING:
    from napari_memscan.report.manifest import Selection
    from napari_memscan.report.scrubbing import Scrubber
    from napari_memscan.volumes.volume import Volume


@dataclass(frozen=True)
class Release:
    """A release that was written.

    Attributes
    ----------
    folder : str
        Where.
    selection : Selection
        How many volumes there were, and what became of them.
    fingerprint : str
        Stands for every byte of it: to be noted elsewhere.
    warnings : tuple of str
        What the publisher should know first.
    """

    folder: str
    selection: Selection
    fingerprint: str
    warnings: tuple[str, ...]


def release(
    study: Study,
    out: str | Path,
    *,
    license: str = "",
    n: int | None = None,
    bids: str = "",
    names: bool = False,
    expect: str = "",
) -> Generator[Progress, None, Release]:
    """Write the volumes that passed, with all that is claimed of them; the same bytes each time.

    Parameters
    ----------
    study : Study
        Scanned, and read as its ``[release]`` asks.
    out : path
        A new folder, an empty one, or an earlier release, which is then replaced.
    license, n, bids
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
    from napari_memscan.report.datasheet import datasheet
    from napari_memscan.report.manifest import Selection
    from napari_memscan.report.release import (
        DATASHEET,
        LICENSE,
        MANIFEST,
        REPORT,
        Layout,
        building,
        check_target,
        license_text,
        shuffled,
        write_bids,
        write_clean,
        write_sums,
    )

    config = study.config.release
    license, bids, n = license or config.license, bids or config.bids, n or config.n
    if not license.strip():
        raise BadInput(
            "no licence is stated. Write one into study.toml (license below [release]), or give "
            "--license, such as CC-BY-4.0."
        )
    if bids and not (bids.isascii() and bids.isalnum()):
        raise BadInput(f"bids '{bids}': a suffix of letters is expected, such as T1w.")
    out = Path(out).absolute()
    with study.lock("release"):
        check_target(out, _used(study))
        found = candidates(study, expect)
        order = shuffled(found.passed, study.config.seed)
        if not order or (n is not None and len(order) < n):
            raise BadInput(
                f"{len(order)} of {len(found.rows)} volumes pass, {n or 1} are wanted "
                f"({_reasons(found) or 'there are no others'}). Generate more, or read on."
            )
        chosen = order[:n]
        layout = Layout(len(chosen), bids)
        files = {sample: layout.file(i) for i, sample in enumerate(chosen, 1)}
        selection = Selection(
            len(found.rows),
            len(chosen),
            len(order) - len(chosen),
            dict(sorted(Counter(found.rejected.values()).items())),
        )
        scrub = scrubber(study, found, names)
        title = scrub.text(study.config.name)
        hashes, kinds = {}, Counter[str]()
        with building(out) as folder:
            for done, sample in enumerate(chosen, 1):
                volume = study.volume(study.sample_path(found.rows[sample]))
                kinds[_shape(volume)] += 1
                hashes[files[sample]] = write_clean(volume, folder, files[sample])
                yield Progress(done, len(chosen), f"wrote {files[sample]}")
            _report(study, found, folder / Path(REPORT).parent, files, scrub, names, title)
            value = _manifest(
                study, found, files, hashes, selection, scrub, names,
                title=title, license=license, bids=bids,
            )  # fmt: skip
            write_json(folder / MANIFEST, value)
            shapes = [f"{k} of {kind}" for kind, k in sorted(kinds.items())]
            sheet = datasheet(value, _made(found), shapes, config.answers)
            write_text(folder / DATASHEET, sheet)
            write_text(folder / LICENSE, license_text(license))
            if bids:
                write_bids(folder, title, license, list(files.values()))
            fingerprint = write_sums(folder)
        return Release(str(out), selection, fingerprint, found.warnings)


def scrubber(study: Study, found: Candidates, names: bool) -> Scrubber:
    """Return what takes training volumes, patients and (unless `names`) readers out of texts."""
    from napari_memscan.report.scrubbing import Scrubber

    rows = study.cohort.rows()
    words = {word for row in rows for word in (row.subject_id, row.session_id)}
    paths = [row.path for row in rows] + [str(study.sample_path(r)) for r in found.rows.values()]
    return Scrubber(words | (set() if names else set(found.pseudonyms)), paths)


def _used(study: Study) -> dict[str, Path]:
    """Return what a release must not lie among: it would be taken for volumes of the study."""
    used = {f"the volume {row.path}": Path(row.path) for row in study.cohort.rows()}
    used |= {"the samples of the study": study.synthetic_dir, "the study": study.folder / "scan"}
    config = study.config.generator
    if config is not None and config.kind == "folder":
        used["the folder of synthetic volumes"] = study.resolve(config.path)
    return used


def _reasons(found: Candidates) -> str:
    reasons = []
    for why in sorted(set(found.rejected.values())):
        samples = [s for s, reason in found.rejected.items() if reason == why]
        reasons.append(f"{why}: {few(samples)}")
    return "; ".join(reasons)


def _shape(volume: Volume) -> str:
    size = " x ".join(map(str, volume.data.shape)) + " voxels"
    if volume.spacing is None:
        return f"{size}, voxel size unknown"
    return f"{size} of {' x '.join(f'{z:.4g}' for z in volume.spacing)} mm"


def _made(found: Candidates) -> str:
    """Say in words what made the volumes."""
    rows = found.rows.values()
    models = sorted({row.checkpoint_hash for row in rows} - {""})
    if not models:
        return "Made elsewhere, by a generator that the study does not know."
    samplers = ", ".join(sorted({f"{r.sampler} with {r.steps} steps" for r in rows if r.seed}))
    return (
        f"Drawn from a latent diffusion model (checkpoint {', '.join(models)}) by {samplers}; the "
        "seed of each is in the manifest."
    )


def _report(
    study: Study,
    found: Candidates,
    folder: Path,
    files: Mapping[str, str],
    scrub: Scrubber,
    names: bool,
    title: str,
) -> None:
    """Write the page without pictures: its pairs would show patients."""
    from napari_memscan.jobs.reporting import provenance
    from napari_memscan.report.disclosed import (
        disclosed,
        disclosed_decision,
        disclosed_selftest,
    )
    from napari_memscan.report.page import write_report

    outside = _outside(found, files)
    shown = {str(study.sample_path(row)): outside[s] for s, row in found.rows.items()}
    decisions = {
        outside[sample]: disclosed_decision(d, found.reader(d.reader, names), names)
        for sample, d in found.current.items()
        if sample in outside
    }
    rows = list(found.rows.values())
    write_report(
        folder,
        disclosed(found.result, shown, scrub),
        title=title,
        decisions=decisions,
        selftest=disclosed_selftest(found.selftest, scrub),
        provenance=scrub.value(provenance(study, rows, found.events, found.head))
        | {"left out of this page": "pictures and names of training volumes, and readers' notes"},
    )


def _outside(found: Candidates, files: Mapping[str, str]) -> dict[str, str]:
    """Return what each sample is called outside: its file, or why it has none."""
    names = {}
    for sample in found.rows:
        if sample in files:
            names[sample] = Path(files[sample]).name.removesuffix(".nii.gz")
        else:
            names[sample] = f"{sample} ({'rejected' if sample in found.rejected else 'not wanted'})"
    return names


def _manifest(
    study: Study,
    found: Candidates,
    files: Mapping[str, str],
    hashes: Mapping[str, str],
    selection: Selection,
    scrub: Scrubber,
    names: bool,
    **stated: str,
) -> dict[str, Any]:
    from napari_memscan.report.disclosed import disclosed, disclosed_selftest
    from napari_memscan.report.manifest import decisions_of, entry, manifest

    paths = {str(study.sample_path(row)): s for s, row in found.rows.items()}
    result = disclosed(found.result, paths, scrub)
    judged = {sample.path: sample for sample in result.samples}
    volumes = []
    for sample, file in files.items():
        row = found.rows[sample]
        said = {found.reader(reader, names): d for reader, d in found.said(sample).items()}
        made = {
            "sample": sample,
            "source_sha256": study.sha256(study.sample_path(row)),
            "replaces": row.parent,
            "seed": row.seed,
            "recipe_hash": row.recipe_hash,
            "checkpoint_hash": row.checkpoint_hash,
            "sampler": row.sampler,
            "steps": row.steps,
            "settings": scrub.text(row.settings),
        }
        volumes.append(
            entry(
                file, hashes[file], made, judged[sample],
                decisions_of(said, names), found.passed[sample],
            )
        )  # fmt: skip
    return manifest(
        title=stated["title"],
        license=stated["license"],
        layout=f"BIDS {stated['bids']}" if stated["bids"] else "plain",
        policy=found.policy,
        stated_rule=study.config.release.rule,
        selection=selection,
        result=result,
        no_power=scrub.text(powerless(found.result, found.selftest)),
        selftest=disclosed_selftest(found.selftest, scrub),
        n_subjects=len({row.subject_id for row in study.cohort.rows("training")} - {""}),
        decisions={
            "events": found.events,
            "head": found.head,
            "readers": len(found.by_reader),
            "store": study.config.review.readers,
        },
        volumes=volumes,
    )
