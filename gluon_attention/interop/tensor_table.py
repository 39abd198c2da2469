"""What converters share: refusals that name the file, tensors taken once, nets that must agree."""

from __future__ import annotations

import zipfile
import zlib
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

import numpy as np

from ..errors import UserError

Arrays = Dict[str, Any]  # by name: arrays, or tensors of a file that is read when they are used


# What Python's own modules raise when a file is not what they expect.
_DAMAGE = (
    *(ValueError, LookupError, TypeError, AttributeError, OverflowError, EOFError, OSError),
    *(RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Whatever goes wrong inside, as one sentence on a file that cannot be read."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{file} is not loaded: {error}") from None
    except _DAMAGE as error:
        said = " ".join(ascii(str(error))[1:-1].split()).rstrip(".")[:120]
        raise UserError(
            f"{file} is cut off or damaged ({said or type(error).__name__}); fetch or save it again"
        ) from None


@contextmanager
def fitting(file: str) -> Iterator[None]:
    """Refusals of what a file holds, as sentences that name the file."""
    try:
        yield
    except UserError as error:
        told = str(error)  # names it already where numbers were read only now
        raise UserError(told if file in told else f"{file} does not fit: {told}") from None


class TensorTable:
    """The tensors of a file, each to be taken once."""

    def __init__(self, tensors: Arrays) -> None:
        self.left = dict(tensors)

    def take(self, name: str) -> Any:
        """A tensor as it is in the file."""
        if name not in self.left:
            raise UserError(f"it has no '{name}' (any more), which the net needs")
        return self.left.pop(name)

    def array(self, name: str, *shape: Optional[int]) -> np.ndarray:
        """Its numbers; None stands for any length of a side."""
        tensor = self.take(name)
        fits = len(tensor.shape) == len(shape)
        if not fits or any(want not in (None, have) for have, want in zip(tensor.shape, shape)):
            raise UserError(f"'{name}' is {tuple(tensor.shape)} and has to be {shape}")
        return tensor.array()


def check_options(origin: str, have: Dict[str, Any], want: Dict[str, Any]) -> None:
    """Refuse a net that would compute something else with these weights.

    Args:
        origin: of the weights.
        have: options that the net was built with.
        want: those of a net that gives the same numbers.
    """
    wrong = [name for name in have if have[name] != want[name]]
    if wrong:
        asked = ", ".join(f"{name}={value!r}" for name, value in want.items())
        raise UserError(f"weights of {origin} give the same numbers only in a net with {asked}")


def out_features(tensors: Arrays, name: str) -> int:
    """How many numbers a layer puts out: the rows of its matrix."""
    if name not in tensors or len(tensors[name].shape) != 2:
        raise UserError(f"it has no matrix '{name}', which every such checkpoint has")
    return tensors[name].shape[0]
