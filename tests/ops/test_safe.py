"""The safe concat: values and gradients of MXNet's, without its memory leak."""

from __future__ import annotations

from gluon_attention.ops.safe import concat

import numpy as np
import pytest
from mxnet import autograd, nd


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4  # KB


@pytest.mark.parametrize(
    ("widths", "chunk"), [((3,), 1), ((2, 1), 1), ((4, 2, 5), 1), ((6, 3), 3), ((4, 4), 4)]
)
def test_values_and_gradients_equal_concat(widths, chunk):
    parts = [nd.array(np.random.rand(3, width)) for width in widths]
    weight = nd.array(np.random.rand(3, sum(widths)))
    for part in parts:
        part.attach_grad()
    with autograd.record():
        joined = concat(nd, *parts, chunk=chunk)
        loss = (joined * weight).sum()
    loss.backward()
    np.testing.assert_array_equal(joined.asnumpy(), np.hstack([p.asnumpy() for p in parts]))
    gradient = np.hstack([part.grad.asnumpy() for part in parts])
    np.testing.assert_array_equal(gradient, weight.asnumpy())


@pytest.mark.parametrize("chunk", [1, 8])
def test_no_memory_leaks(chunk):
    one, other = nd.ones((4, 8)), nd.ones((4, 8))
    one.attach_grad()

    def steps(count):
        for _ in range(count):
            with autograd.record():
                loss = concat(nd, one, other, chunk=chunk).sum()
            loss.backward()
            loss.wait_to_read()
        nd.waitall()

    steps(100)
    before = resident()
    steps(600)
    assert resident() - before < 600  # a concat of two axes loses twice as much
