"""The zoom of public implementations, to compare with: it grows whatever it sees."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from gluon_attention.ops.attention_crop import pulls

import numpy as np
import pytest
from mxnet import autograd, nd

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fading_zoom.py"


@pytest.fixture(scope="module")
def fading() -> Any:
    spec = importlib.util.spec_from_file_location("fading_zoom", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_energy_that_is_the_same_everywhere_widens_its_box_but_not_ours(fading: Any) -> None:
    x, y, side = fading.thirds((224, 224)).mean(axis=(1, 2))
    assert abs(side - 0.776) < 2e-3  # as was measured on those implementations
    assert abs(x) < 0.01 and abs(y) < 0.01
    np.testing.assert_allclose(pulls((224, 224), 10.0).mean(axis=(1, 2)), 0, atol=1e-12)


def test_its_clamps_hold_the_box_and_not_the_gradient(fading: Any) -> None:
    free = nd.array([[3.0, -3.0, -2.0], [0.0, 0.0, 4.0]])
    free.attach_grad()
    with autograd.record():
        box = fading.clamped_box(nd, free, 0.1, 0.9)
    box.backward()
    found = box.asnumpy()
    np.testing.assert_allclose(found[0], [1 / 3, -1 / 3, 2 / 3], atol=1e-6)
    assert abs(found[1, 2] - 1 / (1 + np.exp(-4))) < 1e-6
    assert (free.grad.asnumpy() > 0).all()
