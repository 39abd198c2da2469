"""Shared by converters: errors that name the file, a table of tensors, a check of options."""

from __future__ import annotations

import zipfile
import zlib
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

import numpy as np

from ..errors import UserError
from ..zoo.attention_net import AttentionNet
from ..zoo.registry import options_of
from .tensors import Tensor

Arrays = Dict[str, Any]  # by name: NDArrays, numpy arrays, or `Tensor`s, which load lazily

# Exceptions of Python's modules for invalid files.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError, EOFError, OSError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Convert every error inside to one sentence: the file cannot be read."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file} is not loaded: {error}") from None
    except _DAMAGE as error:
        reason = " ".join(ascii(str(error))[1:-1].split()).rstrip(".")[:120]
        reason = reason or type(error).__name__
        raise UserError(
            f"{file} is cut off or damaged ({reason}); fetch or save it again"
        ) from None


@contextmanager
def fitting(file: str) -> Iterator[None]:
    """Prefix errors about the content of a file with its name."""
    try:
        yield
    except UserError as error:
        message = str(error)  # a tensor that loads lazily already names the file
        raise UserError(message if file in message else f"{file} does not fit: {message}") from None


class TensorTable:
    """The tensors of a file, each used once; `remaining` are the unused ones."""

    def __init__(self, tensors: Arrays) -> None:
        self.remaining = dict(tensors)

    def pop(self, name: str) -> Any:
        """Remove and return a tensor, as it is in the file."""
        if name not in self.remaining:
            raise UserError(f"it has no '{name}', which the net needs")
        return self.remaining.pop(name)

    def array(self, name: str, *shape: Optional[int]) -> np.ndarray:
        """Remove and return the numbers of a tensor of this shape; None is any length."""
        tensor = self.pop(name)
        fits = len(tensor.shape) == len(shape)
        if not fits or any(want not in (None, have) for have, want in zip(tensor.shape, shape)):
            raise UserError(f"'{name}' is {tuple(tensor.shape)} and has to be {shape}")
        return as_numpy(tensor)


def as_numpy(tensor: Any) -> np.ndarray:
    """The numbers of a tensor, an NDArray or a numpy array."""
    if isinstance(tensor, np.ndarray):
        return tensor
    return tensor.array() if isinstance(tensor, Tensor) else tensor.asnumpy()


def check_options(origin: str, net: AttentionNet, required: Dict[str, Any]) -> None:
    """Refuse a net whose options differ from those of a checkpoint."""
    arguments = net.arguments
    options = {**options_of(arguments["name"]), **arguments["options"]}
    wrong = {name: value for name, value in required.items() if options[name] != value}
    if wrong:
        text = ", ".join(f"{name}={value!r}" for name, value in wrong.items())
        raise UserError(f"weights of {origin} need a net with {text}")


def out_features(tensors: Arrays, name: str) -> int:
    """The number of outputs of a linear layer: rows of its matrix."""
    if name not in tensors or len(tensors[name].shape) != 2:
        raise UserError(f"it has no matrix '{name}', which every such checkpoint has")
    return tensors[name].shape[0]
