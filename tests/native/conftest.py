"""What tests of the native library share: without the library they are skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from gluon_attention.native import library

import pytest

HERE = Path(__file__).resolve().parent
UNBUILT = ("test_build.py",)  # needs no library


def pytest_collection_modifyitems(items: List[Any]) -> None:
    if library() is None:
        skip = pytest.mark.skip(reason="the native library is not built: make native")
        for item in items:
            if HERE in item.path.parents and item.path.name not in UNBUILT:
                item.add_marker(skip)
