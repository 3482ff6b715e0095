"""Step 4: what would be released, the policy, the report, and the release itself."""

from napari_memscan.widgets.release.controller import ReleaseController
from napari_memscan.widgets.release.view import ReleaseView

__all__ = ["ReleaseController", "ReleaseView"]
