import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[3] / "docs" / "plug-in.md"


@pytest.fixture(scope="session")
def plug_in(tiny_ldm, tmp_path_factory):
    """The example of docs/plug-in.md with the weights of the tiny LDM beside it."""
    from napari_memscan.checkpoints.loading import load_weights

    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path_factory.mktemp("plug-in")
    for part in ("autoencoder", "denoiser"):
        torch.save(load_weights(tiny_ldm, part), folder / f"{part}.pt")
    path = folder / "my_model.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture
def child(tmp_path):
    """Return a function that starts a child with a plug-in of this text, and ends it after."""
    from napari_memscan.checkpoints.trusted.client import ChildProcess

    made = []

    def start(code, load_seconds=60, call_seconds=60, name="plug.py"):
        path = tmp_path / name
        path.write_text(code, encoding="utf-8")
        options = ("--function", "make")
        made.append(
            ChildProcess(
                "plug.py:make",
                "plugin",
                str(path),
                options,
                load_seconds=load_seconds,
                call_seconds=call_seconds,
            )
        )
        return made[-1]

    yield start
    for one in made:
        one.close()
