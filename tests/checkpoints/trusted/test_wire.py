"""Messages come through as they were sent; anything else is refused before memory is taken."""

import io
import pickle

import numpy as np
import pytest
from safetensors.numpy import save

from napari_memscan.checkpoints.trusted import wire


def sent(message, arrays=None):
    stream = io.BytesIO()
    wire.send(stream, message, arrays)
    return stream.getvalue()


def framed(*parts):
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def test_round_trip_to_the_bit():
    random = np.random.default_rng(0)
    arrays = {
        "a": random.standard_normal((2, 1, 3, 4, 5)).astype(np.float32)[:, :, ::2],
        "none": np.zeros((0, 3), np.float32),
        "n": np.array([1, -(2**40)]),
        "scalar": np.float32(3.5).reshape(()),
    }
    stream = io.BytesIO(sent({"do": "denoise", "n": [1, "é"]}, arrays) + sent({"do": "close"}))
    message, back = wire.receive(stream)
    assert message == {"do": "denoise", "n": [1, "é"]}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
        assert back[name].shape == array.shape
        assert back[name].flags.writeable
    assert wire.receive(stream) == ({"do": "close"}, {})


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


@pytest.mark.parametrize(
    "data",
    [
        framed(pickle.dumps(Payload()), save({})),
        framed(b"{}", pickle.dumps(Payload())),
        framed(b"[1, 2]", save({})),
        framed(b"\xff\xfe", save({})),
        framed(b"[" * 100_000, save({})),
        framed(b"{}", b""),
        framed(b"{}", save({"a": np.zeros(4, np.float32)})[:-1]),
        b"garbage that is no length",
    ],
)
def test_what_is_no_message(data):
    with pytest.raises(wire.BadMessage):
        wire.receive(io.BytesIO(data), 1000)


def test_more_than_expected_is_not_read(monkeypatch):
    monkeypatch.setattr(wire, "MAX_TEXT", 100)
    data = sent({}, {"a": np.zeros(250, np.float32)})
    assert wire.receive(io.BytesIO(data), 1000)[1]["a"].shape == (250,)
    with pytest.raises(wire.BadMessage, match="at most 900 are expected"):
        wire.receive(io.BytesIO(data), 800)


@pytest.mark.parametrize("cut", [0, -1, -1000])
def test_an_end_in_the_middle(cut):
    data = sent({}, {"a": np.zeros(250, np.float32)})
    with pytest.raises(EOFError):
        wire.receive(io.BytesIO(data[: len(data) + cut if cut else 0]))


@pytest.mark.parametrize("message", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 5_000_000}])
def test_what_cannot_be_sent(message):
    with pytest.raises(wire.BadMessage):
        sent(message)
