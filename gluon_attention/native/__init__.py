"""Training on a modern oneDNN, optional: see docs/native.md."""

from __future__ import annotations

from .loader import library
from .program import Program, Unsupported
from .twin import Lowered, Trainable, Twin, twin

__all__ = ["Lowered", "Program", "Trainable", "Twin", "Unsupported", "library", "twin"]
