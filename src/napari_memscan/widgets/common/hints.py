"""What to do about an error, as the window says it."""

from __future__ import annotations

from napari_memscan.errors import HintKind, MemscanError, explain_error

HINTS = {
    HintKind.STATE: "State it below as {about}.",
    HintKind.TRUST: "If you trust whoever made it, choose it in step 1 and let its code run.",
    HintKind.SAVE_MEMORY: (
        "Choose 'Use less memory' in File > Preferences > Memscan, or use another machine."
    ),
    HintKind.UNGUIDED: "Without guidance it can be replaced all the same.",
    HintKind.CREATE_STUDY: "Make a study in step 1.",
    HintKind.SCAN: "Scan in step 2.",
    HintKind.SELFTEST: "Measure the detector in step 2.",
    HintKind.READ: "Read them first in step 3.",
    HintKind.AUDIT: "The command 'memscan audit' says where.",
    HintKind.LICENSE: "Choose a licence.",
    HintKind.TRUTH: "Choose another truth below.",
    HintKind.RAISE_LIMIT: "Look more often, or raise the limit.",
}


def describe_error(error: MemscanError) -> str:
    """Return what is wrong, and where in the window it is mended."""
    return explain_error(error, HINTS)
