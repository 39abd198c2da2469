"""What converters share: tensors that are taken once, and nets that have to agree."""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np

from ..errors import UserError

Arrays = Dict[str, Any]  # by name: arrays, or tensors of a file that is read when they are used


class Supply:
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


def agree(origin: str, have: Dict[str, Any], want: Dict[str, Any]) -> None:
    """Refuse a net that would compute something else with these weights."""
    wrong = [name for name in have if have[name] != want[name]]
    if wrong:
        asked = ", ".join(f"{name}={value!r}" for name, value in want.items())
        raise UserError(f"weights of {origin} give the same numbers only in a net with {asked}")


def rows(tensors: Arrays, name: str) -> int:
    """Of a matrix: how many numbers a layer puts out."""
    if name not in tensors or len(tensors[name].shape) != 2:
        raise UserError(f"it has no matrix '{name}', which every such checkpoint has")
    return tensors[name].shape[0]
