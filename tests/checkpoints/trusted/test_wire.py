"""Messages come through as they were sent; anything else is refused before memory is taken."""

import io
import json
import pickle

import numpy as np
import pytest

from napari_memscan.checkpoints.trusted import wire


def sent(message, arrays=None):
    stream = io.BytesIO()
    wire.send(stream, message, arrays)
    return stream.getvalue()


def header(*arrays, **message):
    return json.dumps({**message, "arrays": list(arrays)}).encode() + b"\n"


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
    assert wire.receive(stream) == ({"do": "close"}, {})


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


F = {"name": "a", "type": "float32", "shape": [4]}


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Payload()) + b"\n",
        b"garbage\n",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"no end",
        b"[" * 100_000 + b"\n",
        b'{"arrays": [], "x": NaN}\n',
        b'{"arrays": [], "x": ' + b"9" * 10_000 + b"}\n",
        b"{}\n",
        header(F, F) + bytes(32),
        header(*[F] * 17) + bytes(400),
        header({**F, "type": "object"}) + bytes(32),
        header({**F, "type": "O"}) + bytes(32),
        header({**F, "type": ["float32"]}) + bytes(32),
        header({**F, "shape": [-4]}) + bytes(32),
        header({**F, "shape": [True]}) + bytes(32),
        header({**F, "shape": [1.0]}) + bytes(32),
        header({**F, "shape": "4"}) + bytes(32),
        header({**F, "shape": [2**30, 2**30, 2**30]}),
        header({**F, "shape": [1] * 7}) + bytes(32),
        header({**F, "more": 1}) + bytes(32),
        header({"name": "a"}),
    ],
)
def test_what_is_no_message(data):
    with pytest.raises(wire.BadMessage):
        wire.receive(io.BytesIO(data), 1000)


def test_more_than_expected_is_not_read():
    data = sent({}, {"a": np.zeros(250, np.float32)})
    assert wire.receive(io.BytesIO(data), 1000)[1]["a"].shape == (250,)
    with pytest.raises(wire.BadMessage, match="1,000 bytes"):
        wire.receive(io.BytesIO(data), 999)


@pytest.mark.parametrize("cut", [0, -1, -1000])
def test_an_end_in_the_middle(cut):
    data = sent({}, {"a": np.zeros(250, np.float32)})
    with pytest.raises(EOFError):
        wire.receive(io.BytesIO(data[: len(data) + cut if cut else 0]))


@pytest.mark.parametrize("message", [{"x": object()}, {"x": float("nan")}, {"x": "y" * 5_000_000}])
def test_what_cannot_be_sent(message):
    with pytest.raises(wire.BadMessage):
        sent(message)
