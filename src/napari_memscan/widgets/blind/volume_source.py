"""What of a blind reading is looked at: neutral cases, and arrays by random keys."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_memscan.errors import JobFailed, MemscanError
from napari_memscan.review.blind_case import BlindCase
from napari_memscan.widgets.study.inspect import find_display_spacing
from napari_memscan.widgets.viewing import Case, CaseVolume

if TYPE_CHECKING:
    from napari_memscan.review.blind_session import BlindSession
    from napari_memscan.study import Study
    from napari_memscan.typing import Array, Triple

LOG = logging.getLogger(__name__)


def make_blind_case(case: BlindCase) -> Case:
    """Return a blind case as one to look at; its volumes are known by their keys."""
    one, other = case.panes
    return Case(
        case.title,
        CaseVolume(one.title, one.key),
        (CaseVolume(other.title, other.key, case.transform),),
    )


class BlindVolumeSource:
    """Loads panes; whatever goes wrong is said without the name of a file.

    Parameters
    ----------
    study : Study
    reading : BlindSession
    """

    def __init__(self, study: Study, reading: BlindSession) -> None:
        self._study, self._reading = study, reading

    def load(self, key: str) -> Array:
        """Return the array (X, Y, Z) of a pane."""
        try:
            array: Array = self._reading.array(key)
            return array
        except MemscanError:
            raise
        except Exception as error:
            kind = type(error).__name__
            LOG.error("a volume of a blind reading could not be loaded (%s)", kind)
        # Outside of 'except', so that the error, which may name the file, does not follow.
        raise JobFailed(f"This volume cannot be read ({kind}). Go on with the next case.")

    def spacing(self) -> Triple:
        """Return the voxel size in mm, one for all."""
        try:
            return find_display_spacing(self._study)
        except (MemscanError, OSError):
            pass
        raise JobFailed(
            "The voxel size of this study cannot be read: end the blind reading, and look at the "
            "study in step 1."
        )
