"""Bilinear resize against numpy, for changing sizes."""

from __future__ import annotations

from typing import Any, Tuple

from gluon_attention.ops.resize import resize_like

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

SIZES = [  # height and width before, height and width after
    ((4, 5), (8, 9)),
    ((16, 16), (32, 32)),
    ((7, 12), (13, 23)),
    ((9, 11), (4, 5)),
    ((6, 6), (6, 6)),
    ((1, 1), (3, 2)),
    ((1, 5), (1, 9)),
    ((7, 1), (13, 1)),
    ((5, 3), (1, 1)),
    ((2, 2), (1, 7)),
]


class Resize(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any, like: Any) -> Any:
        return resize_like(F, x, like)


def matrix(before: int, after: int) -> np.ndarray:
    """Row i holds what pixel i of the result takes from each pixel of the source."""
    places = np.linspace(0, before - 1, after)
    return np.stack([np.interp(places, np.arange(before), row) for row in np.eye(before)], axis=1)


def run(net: Any, size: Tuple[int, int], target: Tuple[int, int]) -> Tuple[np.ndarray, ...]:
    """Input, result, gradient of the result, gradient of the input."""
    x = nd.random.normal(shape=(2, 3, *size))
    like = nd.random.normal(shape=(2, 4, *target))
    head = nd.random.normal(shape=(2, 3, *target))
    x.attach_grad()
    with autograd.record():
        y = net(x, like)
    y.backward(head)
    return tuple(a.asnumpy() for a in (x, y, head, x.grad))


def test_equals_numpy_in_one_net_for_many_sizes(hybridize: bool) -> None:
    net = Resize()
    net.hybridize(hybridize, static_alloc=hybridize, static_shape=hybridize)
    for size, target in SIZES + SIZES[::-1]:
        x, y, head, gradient = run(net, size, target)
        rows, columns = (matrix(b, a) for b, a in zip(size, target))
        np.testing.assert_allclose(y, rows @ x @ columns.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(gradient, rows.T @ head @ columns, rtol=1e-5, atol=1e-5)


def test_only_the_size_of_the_other_tensor_matters() -> None:
    x, like = nd.random.normal(shape=(1, 2, 3, 4)), nd.zeros((1, 2, 6, 8))
    like.attach_grad()
    with autograd.record():
        y = resize_like(nd, x, like)
    y.backward()
    assert (like.grad == 0).asnumpy().all()
    assert (resize_like(nd, x, like + 1e6) == y).asnumpy().all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtype_of_the_input_is_kept(dtype: str) -> None:
    symbol = resize_like(mx.sym, mx.sym.var("x"), mx.sym.var("like"))
    _, outputs, _ = symbol.infer_type(x=dtype, like=dtype)
    assert outputs == [np.dtype(dtype).type]
    _, shapes, _ = symbol.infer_shape(x=(2, 3, 4, 5), like=(2, 1, 7, 9))
    assert shapes == [(2, 3, 7, 9)]
