"""Training on a modern oneDNN, optional: see docs/native.md."""

from __future__ import annotations

from .loader import library
from .program import Program, Unsupported
from .twin import DTYPES, Lowered, Trainable, Twin, twin

__all__ = [
    "DTYPES",
    "Lowered",
    "Program",
    "Trainable",
    "Twin",
    "Unsupported",
    "library",
    "twin",
]
