"""The commands ``release`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_memscan.cli.console import note, run_with_progress, say
from napari_memscan.cli.options import JsonOption, StudyArgument


def release(
    study: StudyArgument,
    out: Annotated[
        Path,
        typer.Argument(help="New folder, or an earlier release to replace.", show_default=False),
    ],
    license: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="SPDX identifier or free text; needed unless study.toml says it.",
            show_default=False,
        ),
    ] = "",
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="So many volumes, drawn from those that pass.")
    ] = None,
    bids: Annotated[
        str,
        typer.Option(
            metavar="SUFFIX", help="Lay out as BIDS, with this suffix: T1w.", show_default=False
        ),
    ] = "",
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Also as DICOM series without dates and persons.")
    ] = False,
    names: Annotated[
        bool, typer.Option("--names", help="Readers by name, in place of R1, R2 ...")
    ] = False,
    expect: Annotated[
        str,
        typer.Option(
            metavar="HEAD",
            help="A head of the decisions noted earlier: it must be in the chain.",
            show_default=False,
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Write the volumes that passed into a folder that can be handed out, with the evidence.

    What passes is set in study.toml below [release]. Volumes are written anew with clean headers,
    beside a manifest, a datasheet, the report without pictures of patients, the licence and a
    hash of every file. Nothing is written while volumes are unread under that policy, while the
    scan is older than the samples, or when the chain of decisions is broken. The same study gives
    the same bytes.

    \b
    Examples:
      memscan release audit knees --license CC-BY-4.0
      memscan release audit knees-bids --license CC0-1.0 --bids T1w -n 200
      memscan release audit knees --license CC-BY-4.0 --dicom
    """
    from napari_memscan import jobs
    from napari_memscan.report.datasheet import PUBLISHER_QUESTIONS
    from napari_memscan.study import Study

    opened = Study.open(study)
    job = jobs.release_volumes(
        opened, out, license=license, n=n, bids=bids, dicom=dicom, names=names, expect=expect
    )
    made = run_with_progress(job, "release")
    for warning in made.warnings:
        note(f"careful: {warning}")
    if json:
        from dataclasses import asdict
        from json import dumps

        say(dumps(asdict(made), indent=2, sort_keys=True))
        return
    say(f"{made.folder}: {made.selection}")
    say(f"fingerprint  {made.fingerprint}")
    if len(opened.config.release.answers) < len(PUBLISHER_QUESTIONS):
        note(
            f"{made.folder}/datasheet.md has open questions. Answer them in study.toml, below "
            "[release.answers], and release again: a file that is changed no longer fits its hash."
        )
    note(
        "Note the fingerprint elsewhere, then anybody can: "
        f"memscan verify {out} --expect {made.fingerprint[:12]}"
    )


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a release.", show_default=False)],
    expect: Annotated[
        str,
        typer.Option(
            metavar="FINGERPRINT",
            help="As noted when it was made, or its first 12 digits.",
            show_default=False,
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Verify a release anywhere, without its study: nothing changed, missing or added.

    Compares every hash, looks for anything but voxels and voxel size in the volumes, and for
    contradictions between the manifest and the policy that it states. Prints what the release
    claims; whether the claims are true, only its study can show. Without --expect, a release that
    was made anew as a whole does not show.

    Exit code 0: intact. 1: broken; each file that does not fit is named.

    \b
    Examples:
      memscan verify knees
      memscan verify knees --expect 3f1c09a2b7de
    """
    from napari_memscan.report.verification import verify_release as verified

    found = verified(folder, expect)
    say(found.to_json() if json else str(found))
    if not found.intact:
        raise typer.Exit(1)
