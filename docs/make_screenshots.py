"""Makes the pictures in docs/images from the demo study, and all views to look at.

Run with ``make screenshots``, or on a screen of your own with
``python docs/make_screenshots.py [STUDY]``. Without a study the demo is made first, in a
temporary folder: about three minutes on two cores. A study that is named is read blind for the
pictures, which stays in its record. Every view goes in both themes and two sizes to
build/screenshots; those that the pages show are copied.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import torch
from PIL import Image

from napari_memscan import jobs
from napari_memscan.checkpoints.loading import load_weights
from napari_memscan.checkpoints.native_format import read_recipe
from napari_memscan.demo.phantoms import write_phantom_cohort
from napari_memscan.demo.study import N_SAMPLES, create_demo_study, get_demo_checkpoint
from napari_memscan.study import Study
from napari_memscan.widgets.screenshots.screenshots import (
    SIZES,
    THEMES,
    save_screenshots,
    save_study_form,
)

OUT = Path(__file__).resolve().parent / "images"
ALL = OUT.parents[1] / "build" / "screenshots"
SHOWN = ("contours", "map", "planes", "threshold", "embedding", "blind-case", "blind-revealed")
"""Views that the pages show, dark and small."""
COLOURS = 128
"""Of a picture in docs: a window has few, and the files stay small."""


def bundle(folder: Path) -> None:
    """Write the demo's LDM as others would: a MONAI bundle that says nothing of the latents."""
    recipe = read_recipe(get_demo_checkpoint("ldm"))
    nets = "monai.networks.nets"
    known = {"num_train_timesteps", "schedule", "beta_start", "beta_end", "prediction_type"}
    config = {
        "autoencoder_def": {"_target_": f"{nets}.AutoencoderKL", **recipe.autoencoder},
        "network_def": {"_target_": f"{nets}.DiffusionModelUNet", **recipe.denoiser},
        "noise_scheduler": {
            "_target_": "monai.networks.schedulers.DDIMScheduler",
            "clip_sample": False,
            **recipe.scheduler.model_dump(include=known),
        },
    }
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=1))
    for part, name in (("autoencoder", "autoencoder"), ("denoiser", "diffusion_unet")):
        torch.save(load_weights(get_demo_checkpoint("ldm"), part), folder / "models" / f"{name}.pt")


def checkpoint_picture(out: Path) -> Path:
    """Show what the form says of a foreign checkpoint; its paths are seen, so they are short."""
    name = "study-checkpoint"
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        write_phantom_cohort(Path("phantoms"))
        bundle(Path("ldm-bundle"))
        choices = {"folder": "audit", "cohort": "phantoms", "generator": "ldm-bundle"}
        for size in SIZES:
            for theme in THEMES:
                save_study_form(choices, ALL / f"{name}-{theme}-{size[0]}.png", size, theme)
    return small(ALL / f"{name}-dark-{SIZES[0][0]}.png", out / f"{name}.png")


def report_picture(study: Path, out: Path) -> list[Path]:
    """Show the top of the report as a browser does; nothing where there is no browser."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("No picture of the report: no Chromium here.")
        return []
    page, picture = jobs.report_study(Study.open(study)), out / "report.png"
    with tempfile.TemporaryDirectory() as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            "--window-size=1080,1415",
        ]
        command = [browser, *options, f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
    return [picture]


def small(source: Path, target: Path) -> Path:
    """Write a picture with fewer colours."""
    Image.open(source).convert("RGB").quantize(COLOURS).save(target, optimize=True)
    return target


def views(study: Path, ours: bool) -> None:
    """Take every view, one window after the other, each in a process of its own.

    Of a study that is `ours`, what was decided for the pictures is forgotten after each.
    """
    for size in SIZES:
        for theme in THEMES:
            # napari closes its application with the last window.
            call = f"save_views({str(study)!r}, {str(ALL)!r}, {size}, {theme!r})"
            code = f"from napari_memscan.widgets.screenshots.screenshots import save_views; {call}"
            subprocess.run([sys.executable, "-c", code], check=True)
            if ours:
                shutil.rmtree(study / "blind", ignore_errors=True)
                for path in study.glob("review.sqlite*"):
                    path.unlink()
    for name in SHOWN:
        print(small(ALL / f"{name}-dark-{SIZES[0][0]}.png", OUT / f"{name}.png"))


def main() -> None:
    """Make the demo where no study is named, then take the pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1])
        else:
            study = create_demo_study(Path(temporary) / "memscan-demo")
            jobs.run_job(jobs.generate_volumes(study, N_SAMPLES))
            jobs.run_job(jobs.scan_study(study))
            folder = study.folder
        views(folder, ours=len(sys.argv) == 1)
        pictures = [*save_screenshots(folder, OUT), checkpoint_picture(OUT)]
        for picture in [*pictures, *report_picture(folder, OUT)]:
            print(small(picture, picture))
        # It shows where the study lies on this machine.
        (OUT / "study.png").unlink()


if __name__ == "__main__":
    main()
