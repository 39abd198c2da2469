"""Training and inference on a modern oneDNN, optional: see docs/native.md."""

from __future__ import annotations

from .block import NativeBlock, predicting
from .loader import library
from .predictor import Predictor, predictor
from .program import Program, Unsupported
from .twin import DTYPES, Lowered, Twin, twin

__all__ = [
    "DTYPES",
    "Lowered",
    "NativeBlock",
    "Predictor",
    "Program",
    "Twin",
    "Unsupported",
    "library",
    "predicting",
    "predictor",
    "twin",
]
