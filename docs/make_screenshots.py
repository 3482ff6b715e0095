"""Makes the pictures in docs/images from the demo study.

Run with ``make screenshots``, or on a screen of your own with
``python docs/make_screenshots.py [STUDY]``. Without a study the demo is made first, in a
temporary folder: about three minutes on two cores.
"""

import sys
import tempfile
from pathlib import Path

from napari_memscan import jobs
from napari_memscan.demo.study import N_SAMPLES, create_demo_study
from napari_memscan.widgets.screenshots import save_screenshots

OUT = Path(__file__).parent / "images"


def main() -> None:
    """Make the demo where no study is named, then take the pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1])
        else:
            study = create_demo_study(Path(temporary) / "memscan-demo")
            jobs.run(jobs.generate(study, N_SAMPLES))
            jobs.run(jobs.scan(study))
            folder = study.folder
        for picture in save_screenshots(folder, OUT):
            print(picture)


if __name__ == "__main__":
    main()
