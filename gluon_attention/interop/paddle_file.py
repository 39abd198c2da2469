"""`.pdparams` files without Paddle: pickles of numpy arrays by name."""

from __future__ import annotations

import math
from typing import Any, Dict

from ..errors import UserError
from .tensor_table import reading
from .tensors import Storage, Tensor
from .torch_file import weights_in
from .unpickler import Instance, read_pickle

PICKLE = b"\x80"
INTERNAL_NAMES = "StructuredToParameterName@@"  # a table beside the tensors of a state_dict


class PickledArray(Instance):
    """A numpy array: its state is a version, shape, dtype, order and the bytes."""

    def __init__(self, *_: Any) -> None:
        super().__init__("numpy.ndarray")

    def tensor(self) -> Tensor:
        """The array as a tensor, after a check of its shape against its bytes."""
        _, shape, dtype, columns_first, raw = self.state
        kind, order = dtype.arguments[0], dtype.state[1]
        if kind not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise UserError(f"it holds an array of {ascii(kind)[:20]} where weights belong")
        shape = tuple(shape)
        if any(type(side) is not int or side < 0 for side in shape) or len(shape) > 8:
            raise ValueError("an array has no shape")
        if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * int(kind[1:]):
            raise ValueError("an array has another shape than its bytes")
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        if columns_first:
            strides = [math.prod(shape[:axis]) for axis in range(len(shape))]
        order = ">" if order == ">" else "<"
        storage = Storage(kind, math.prod(shape), lambda: raw, order)
        return Tensor(storage, 0, shape, tuple(strides))


def _tuple(items: Any = ()) -> Any:
    """The array of a tensor, which is saved as the pair of its internal name and its array."""
    items = tuple(items)
    return items[1] if len(items) == 2 and isinstance(items[1], PickledArray) else items


CALLS = {
    "builtins.tuple": _tuple,
    "__builtin__.tuple": _tuple,
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy._core.multiarray._reconstruct": PickledArray,
    "_codecs.encode": lambda text, encoding: text.encode("latin-1"),  # bytes in old protocols
}


def read_paddle(file: str) -> Dict[str, Tensor]:
    """The weights in a file of paddle.save, with linear layers transposed to PyTorch's layout."""
    with reading(file), open(file, "rb") as stream:
        weights = weights_in(_with_tensors(read_pickle(stream, CALLS)))
        return {name: _transposed(name, tensor) for name, tensor in weights.items()}


def _with_tensors(value: Any, depth: int = 0) -> Any:
    """A copy of nested dictionaries whose arrays are tensors."""
    if isinstance(value, PickledArray):
        return value.tensor()
    if isinstance(value, dict) and depth < 4:
        return {
            key: _with_tensors(item, depth + 1)
            for key, item in value.items()
            if key != INTERNAL_NAMES
        }
    return value


def _transposed(name: str, tensor: Tensor) -> Tensor:
    """Transpose a matrix of Paddle's linear layers, (inputs, outputs)."""
    if len(tensor.shape) != 2 or not name.endswith(".weight"):
        return tensor
    return tensor._replace(shape=tensor.shape[::-1], strides=tensor.strides[::-1])
