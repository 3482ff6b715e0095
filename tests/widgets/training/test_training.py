"""Training in the window: a real model, live curves, Stop, and where it ended."""

from __future__ import annotations

import pytest
import torch

from napari_memscan.study import Study
from napari_memscan.training.state import STATE
from napari_memscan.widgets.training import TrainController, TrainView
from napari_memscan.widgets.training.controller import choose_part_folder, find_latest_part


@pytest.fixture
def study(folder_study):
    return Study.open(folder_study) if not isinstance(folder_study, Study) else folder_study


@pytest.fixture
def train(qtbot, study):
    view = TrainView()
    qtbot.addWidget(view)
    controller = TrainController(view)
    controller.set_study(study)
    return controller, view


def run(qtbot, controller, view, part, steps):
    view.part.setCurrentIndex(view.part.findData(part))
    view.steps.setValue(steps)
    view.batch.setValue(2)
    controller.start()
    qtbot.waitUntil(lambda: not controller.busy, timeout=120_000)


def curves(view):
    return view.plot.getPlotItem().listDataItems()


def drawn_steps(view):
    """The steps whose loss is drawn."""
    found = curves(view)
    return found[0].getData()[0] if found else []


def test_an_embedder_is_trained_with_its_curve_and_offered_to_the_study(qtbot, train, study):
    controller, view = train
    offered = []
    controller.trained.connect(lambda field, path: offered.append((field, path)))
    assert view.start_button.isEnabled()
    run(qtbot, controller, view, "embedder", 3)
    assert view.message.level == "ok", view.message.text
    out = study.folder / "models" / "embedder"
    assert offered == [("embedder", str(out))]
    assert (out / "recipe.json").exists()
    assert len(curves(view)[0].getData()[0]) == 3
    assert "training" in view.legend.text()
    # A second one does not write over the first.
    assert choose_part_folder(study.folder / "models", "embedder").name == "embedder-2"
    assert find_latest_part(study.folder / "models", "embedder") == out


def test_a_denoiser_asks_for_its_first_half(train):
    controller, view = train
    view.part.setCurrentIndex(view.part.findData("denoiser"))
    controller.start()
    assert not controller.busy
    assert "autoencoder: train one first" in view.message.text


def test_stop_ends_it_within_a_step_and_the_same_button_goes_on(qtbot, train, study):
    controller, view = train
    view.part.setCurrentIndex(view.part.findData("embedder"))
    view.steps.setValue(100_000)
    view.batch.setValue(2)
    controller.start()
    qtbot.waitUntil(lambda: len(drawn_steps(view)) > 1, timeout=60_000)
    assert not view.start_button.isEnabled()
    view.stop_button.click()
    qtbot.waitUntil(lambda: not controller.busy, timeout=60_000)
    assert view.message.level == "warning"
    assert "goes on" in view.message.text
    assert view.start_button.isEnabled()
    # Steps done before Stop was heard are kept, though the curve ends where it was pressed.
    saved = torch.load(study.folder / "models" / "embedder" / STATE, weights_only=True)["step"]
    assert saved >= drawn_steps(view)[-1]
    controller.start()
    qtbot.waitUntil(lambda: len(drawn_steps(view)) > 0, timeout=60_000)
    assert drawn_steps(view)[0] == saved + 1
    controller.stop()
    qtbot.waitUntil(lambda: not controller.busy, timeout=60_000)


def test_without_a_study_nothing_can_be_trained(qtbot, train):
    controller, view = train
    controller.set_study(None)
    assert not view.start_button.isEnabled()
    controller.start()
    assert not controller.busy


def test_other_parts_have_other_usual_settings(train):
    _, view = train
    seen = set()
    for i in range(view.part.count()):
        view.part.setCurrentIndex(i)
        seen.add((view.steps.value(), view.batch.value()))
    assert len(seen) > 1
