"""Paddle's files: pickles of numpy arrays, read as data, with linear layers turned round."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any, Dict

from gluon_attention import UserError
from gluon_attention.interop.load import read
from gluon_attention.interop.paddle_file import read_paddle

import numpy as np
import pytest


class SavedTensor:
    """A tensor as paddle.save pickles it: its internal name, and its numbers."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> Any:
        return tuple, (("linear_0.w_0", self.array),)


def saved(file: Path, state: Any, protocol: int = 4) -> str:
    file.write_bytes(pickle.dumps(state, protocol))
    return str(file)


@pytest.fixture
def arrays() -> Dict[str, np.ndarray]:
    normal = np.random.randn
    return {"fc.weight": normal(3, 2).astype("f4"), "conv.weight": normal(4, 3, 2, 2).astype("f8")}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrap", [SavedTensor, np.asarray, np.asfortranarray])
def test_arrays_are_read(arrays: Any, wrap: Any, protocol: int, tmp_path: Path) -> None:
    state = collections.OrderedDict((name, wrap(array)) for name, array in arrays.items())
    state["StructuredToParameterName@@"] = {"fc.weight": "linear_0.w_0"}
    checkpoint = {"epoch": 3, "model_state": state, "best": np.float64(0.5)}
    for document in (state, checkpoint):
        tensors = read(saved(tmp_path / "x.pdparams", document, protocol))
        assert list(tensors) == list(arrays)
        np.testing.assert_array_equal(tensors["fc.weight"].array(), arrays["fc.weight"].T)
        expected = arrays["conv.weight"].astype("f4")
        np.testing.assert_array_equal(tensors["conv.weight"].array(), expected)


def test_numbers_of_the_other_byte_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)  # of no linear layer
    tensors = read_paddle(saved(tmp_path / "x", {"bias": array}))
    np.testing.assert_array_equal(tensors["bias"].array(), array)


class Code:
    def __reduce__(self) -> Any:
        return print, ("was run",)


@pytest.mark.parametrize(
    "document, match",
    [
        ({"w": Code()}, "holds code.*print"),
        ({"w": 1}, "no weights"),
        ({"w": np.array(["text"])}, "where weights belong"),
        ({"w": np.array([None])}, "where weights belong"),
    ],
    ids=["code", "number", "text", "objects"],
)
def test_what_holds_no_weights_is_refused(document: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=match):
        read_paddle(saved(tmp_path / "x", document))


def test_a_shape_that_lies_is_refused(tmp_path: Path) -> None:
    content = pickle.dumps({"w": np.zeros((2, 3), "f4")}, 2)
    shape = pickle.dumps((2, 3), 2)[2:-3]
    assert content.count(shape) == 1
    for other in ((2, 4), (3, 3)):
        (tmp_path / "x").write_bytes(content.replace(shape, pickle.dumps(other, 2)[2:-3]))
        with pytest.raises(UserError, match="another shape"):
            read_paddle(str(tmp_path / "x"))
