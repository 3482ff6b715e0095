"""What to do about an error, as the command line says it."""

from __future__ import annotations

from napari_memscan.errors import HintKind, MemscanError, explain_error

HINTS = {
    HintKind.STATE: "State it with --set {about}.",
    HintKind.TRUST: "If you trust whoever made it, use --trust.",
    HintKind.SAVE_MEMORY: (
        "Choose --batch 1 and --decode window, or run on the processor: put CUDA_VISIBLE_DEVICES= "
        "before the command."
    ),
    HintKind.UNGUIDED: "Regenerate without --guidance.",
    HintKind.CREATE_STUDY: "Create a study with 'memscan new'.",
    HintKind.SCAN: "Scan: memscan scan {about}",
    HintKind.SELFTEST: "Measure the detector: memscan selftest {about}",
    HintKind.READ: "Read them first: memscan review {about}",
    HintKind.AUDIT: "See: memscan audit {about}",
    HintKind.LICENSE: "Give --license, such as CC-BY-4.0.",
    HintKind.TRUTH: "Name another with --truth.",
    HintKind.RAISE_LIMIT: (
        "Look more often (--monitor), or raise the limit (--stop-above, --keep-below)."
    ),
}


def describe_error(error: MemscanError) -> str:
    """Return what is wrong, and which option or command mends it."""
    return explain_error(error, HINTS)
