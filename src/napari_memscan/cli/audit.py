"""The command ``audit``."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_memscan.cli.console import note, say
from napari_memscan.cli.options import JsonOption, StudyArgument


def audit(
    study: StudyArgument,
    expect: Annotated[
        str,
        typer.Option(
            metavar="HEAD",
            help="A head noted earlier: it must be in the chain.",
            show_default=False,
        ),
    ] = "",
    json: JsonOption = False,
) -> None:
    """Verify that no recorded decision was changed, removed or put in between.

    Every event holds the hash of the one before. The head, the hash of the last, stands for all of
    them: note it where nobody who can write to the store can change it, and give it with --expect
    next time. Without it, an end that was cut off or a whole chain written anew does not show.
    Plans of blind studies are verified, too: each must be the one that was answered.

    Exit code 0: intact. 1: broken; each event that does not fit is named.

    \b
    Examples:
      memscan audit audit
      memscan audit audit --expect 3f1c09a2b7de
    """
    from napari_memscan.jobs.readers.blind_study import BLIND_FOLDER
    from napari_memscan.review.audit import audit_store as verify
    from napari_memscan.study import Study

    opened = Study.open(study)
    store = opened.store(read_only=True)
    try:
        found = verify(store, expect, opened.folder / BLIND_FOLDER)
    finally:
        store.close()
    say(found.to_json() if json else str(found))
    if not found.intact:
        raise typer.Exit(1)
    if not expect and not json:
        note(f"Note the head elsewhere, then: memscan audit {study} --expect {found.head[:12]}")
