"""Weights that several walks of a test, or of a module, read are opened once."""

import pytest

from napari_memscan.checkpoints import probe


@pytest.fixture(scope="module")
def opened_once():
    """Remember what a file held as long as it stays as it is."""
    known = {}
    open_weights = probe.open_weights

    def remember(path):
        stat = path.stat()
        key = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if key not in known:
            known[key] = open_weights(path)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "open_weights", remember)
        yield
