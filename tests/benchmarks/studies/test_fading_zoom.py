"""The zoom of public implementations: its box grows on uniform energy, ours stays."""

from __future__ import annotations

from gluon_attention.ops.attention_crop import mask_gradient_table

import numpy as np
import pytest
from mxnet import autograd, nd
from studies import fading_zoom

pytestmark = pytest.mark.slow


def test_uniform_energy_widens_its_box_but_not_ours() -> None:
    x, y, side = fading_zoom.thirds((224, 224)).mean(axis=(1, 2))
    assert abs(side - 0.776) < 2e-3  # as was measured on those implementations
    assert abs(x) < 0.01 and abs(y) < 0.01
    np.testing.assert_allclose(
        mask_gradient_table((224, 224), 10.0).mean(axis=(1, 2)), 0, atol=1e-12
    )


def test_its_clamps_bound_the_box_but_not_the_gradient() -> None:
    logits = nd.array([[3.0, -3.0, -2.0], [0.0, 0.0, 4.0]])
    logits.attach_grad()
    with autograd.record():
        boxes = fading_zoom.clamped_box(nd, logits, 0.1, 0.9)
    boxes.backward()
    values = boxes.asnumpy()
    np.testing.assert_allclose(values[0], [1 / 3, -1 / 3, 2 / 3], atol=1e-6)
    assert abs(values[1, 2] - 1 / (1 + np.exp(-4))) < 1e-6
    assert (logits.grad.asnumpy() > 0).all()
