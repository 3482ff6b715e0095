"""What napari's Preferences say of this plugin is what its keys and its reading follow."""

import pytest
from napari.components import ViewerModel
from napari.utils.shortcuts import default_shortcuts
from npe2 import PluginManifest
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QWidget

from napari_memscan.widgets.common.preferences import LAYOUTS, PLUGIN, Preferences, get_setting_name
from napari_memscan.widgets.review.actions import ACTIONS
from napari_memscan.widgets.review.keys import ReviewKeys, assign_keys


@pytest.fixture
def settings(npe2pm, plugin_settings):
    from napari.settings import get_plugin_settings

    npe2pm.register(PluginManifest.from_distribution(PLUGIN))
    return get_plugin_settings(PLUGIN)


def test_the_manifest_and_the_program_have_the_same_defaults(settings):
    chosen = {name: getattr(settings.keys, get_setting_name(name)) for name in ACTIONS}
    assert chosen == {name: action.key for name, action in ACTIONS.items()}
    pages = PluginManifest.from_distribution(PLUGIN).contributions.configurations
    assert len(pages["keys"].properties) == len(ACTIONS)
    assert tuple(pages["reading"].properties["layout"].enum) == LAYOUTS
    said = Preferences()
    assert (said.reader, said.k, said.layout, said.preload_mb) == ("", 3, "grid", None)
    assert said.auto_advance
    assert not said.share_cases


def test_less_memory_is_for_models_as_far_as_they_allow_it(settings, fresh_study):
    said = Preferences()
    assert said.sampling(fresh_study) == {}
    settings.reading.less_memory = True
    assert said.sampling(fresh_study) == {"batch": 1, "decode": "window"}
    generator = fresh_study.config.generator.model_copy(update={"trust": True})
    fresh_study.config = fresh_study.config.model_copy(update={"generator": generator})
    assert said.sampling(fresh_study) == {"batch": 1}


def test_no_key_is_one_that_napari_uses():
    theirs = {
        QKeySequence(str(key)).toString() for many in default_shortcuts.values() for key in many
    }
    ours = set(assign_keys(Preferences()).values())
    assert "" not in ours
    assert len(ours) == len(ACTIONS)
    assert not ours & theirs


def test_a_changed_key_holds_at_once_and_of_two_the_later_has_none(qtbot, settings):
    preferences, told = Preferences(), []
    preferences.on_change(lambda: told.append(1))
    dock = QWidget()
    qtbot.addWidget(dock)
    viewer, done = ViewerModel(), []
    bound = ReviewKeys(dock, viewer, done.append, preferences)
    bound.set_active(True)
    before = len(viewer.keymap)
    settings.keys.copy_key = "Alt+K"
    settings.keys.unsure_key = "N"
    assert told
    bound.reload()
    chosen = assign_keys(preferences)
    assert (chosen["copy"], chosen["not a copy"], chosen["unsure"]) == ("Alt+K", "N", "")
    assert len(viewer.keymap) == before - 1
    bound.set_active(False)
    assert not viewer.keymap


def test_what_nobody_knows_is_the_default(settings):
    settings.reading.layout = "planes"
    settings.reading.preload_mb = 300
    settings.reading.reader = " Dr. Ann "
    said = Preferences()
    assert (said.reader, said.layout, said.preload_mb) == ("Dr. Ann", "planes", 300)
