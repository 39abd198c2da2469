"""`.safetensors` files: a JSON header, then raw numbers.

The package `safetensors` reads and checks them: tensors must not overlap or exceed the file.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from ..errors import UserError
from .atomic import atomic_file


class RawTensor(NamedTuple):
    """A tensor as it is in a file."""

    dtype: str  # F32, BF16, I64, ...
    shape: Tuple[int, ...]
    content: bytes  # little-endian, row by row


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins with a length and a JSON header."""
    return head[8:9] == b"{"


def require_safetensors() -> Any:
    """The package safetensors, or an error that says how to install it."""
    try:
        return importlib.import_module("safetensors")
    except ImportError:
        raise UserError(
            ".safetensors files need their package: run `pip install safetensors`"
        ) from None


def read_safetensors(path: str) -> Tuple[Dict[str, RawTensor], Dict[str, str]]:
    """Tensors and metadata of a file; a damaged one is refused."""
    package, metadata = require_safetensors(), read_metadata(path)
    with open(path, "rb") as file:
        tensors = package.deserialize(file.read())
    if not tensors:
        raise UserError(f"{path} holds no tensors; name a file of weights")
    raw = {n: RawTensor(t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in tensors}
    return raw, metadata


def read_metadata(path: str) -> Dict[str, str]:
    """Metadata of a file, without its tensors; a damaged one is refused."""
    package = require_safetensors()
    try:
        with package.safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (package.SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is a damaged .safetensors file ({reason}); name a whole one"
        ) from None


def write_safetensors(path: str, arrays: Dict[str, np.ndarray], metadata: Dict[str, str]) -> None:
    """Write a file atomically."""
    package = require_safetensors()
    save = importlib.import_module("safetensors.numpy").save_file
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with atomic_file(path) as temporary:
        try:
            save(arrays, temporary, metadata)
        except package.SafetensorError as error:
            raise OSError(str(error).splitlines()[0]) from None
