"""Makes the pictures in docs/images from a demo study: ``make screenshots``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.demo.study import N_SAMPLES, create_demo_study
from napari_memscan.widgets.screenshots import save_screenshots


def main() -> None:
    """Make a demo study in a temporary folder, and take pictures of the window on it."""
    images = Path(__file__).parent / "images"
    # A name without a user's folders in it: the pictures show paths.
    folder = Path(tempfile.gettempdir()) / "memscan-demo"
    shutil.rmtree(folder, ignore_errors=True)
    study = create_demo_study(folder)
    jobs.run(jobs.generate(study, N_SAMPLES))
    jobs.run(jobs.scan(study))
    for path in save_screenshots(folder, images):
        print(path)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
