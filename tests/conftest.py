"""What all tests share: a seed that a failure prints and GLUON_ATTENTION_SEED replays."""

from __future__ import annotations

import os
import random
import zlib
from typing import Any, Iterator

import gluon_attention  # noqa: F401 - before MXNet, which it prepares for

import mxnet as mx
import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def seed(request: Any) -> int:
    """The seed all random numbers of this test come from; another test has another."""
    value = int(os.environ.get("GLUON_ATTENTION_SEED") or zlib.crc32(request.node.nodeid.encode()))
    value %= 2**31
    random.seed(value)
    np.random.seed(value)
    mx.random.seed(value)
    request.node.user_properties.append(("seed", value))
    return value


@pytest.fixture(params=[False, True], ids=["imperative", "hybridized"])
def hybridize(request: Any) -> bool:
    """Whether to call `net.hybridize()`: most of what a network does has to hold both ways."""
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """Tell with a failure how to draw the same random numbers again."""
    report = (yield).get_result()
    value = dict(item.user_properties).get("seed")
    if report.failed and value is not None:
        report.sections.append(("seed", f"replay with GLUON_ATTENTION_SEED={value}"))
