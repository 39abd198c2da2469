"""What all tests share: a seed that a failure prints and GLUON_ATTENTION_SEED replays."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Tuple

from gluon_attention import UserError
from gluon_attention.datasets.batches import ArrayBatches, Normalise, Splits
from gluon_attention.training import engine
from gluon_attention.training.config import Config
from gluon_attention.training.task import Classification
from gluon_attention.zoo.base import AttentionNet

import mxnet as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

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


@pytest.fixture(params=[1, pytest.param(50, marks=pytest.mark.slow)], ids=["sample", "all"])
def fuzz(request: Any) -> Callable[..., None]:
    """A function that checks so many drawn inputs; the slow tier checks fifty times as many."""

    def run(cases: int, strategy: Any, check: Callable[[Any], None]) -> None:
        any_input = list(HealthCheck)
        many = settings(max_examples=cases * request.param, suppress_health_check=any_input)

        def one(drawn: Any) -> None:
            check(drawn)

        many(given(strategy)(one))()

    return run


def refused(act: Callable[[], Any]) -> bool:
    """Whether something is refused as it should be, in one line, and not just accepted."""
    try:
        act()
    except UserError as error:
        assert str(error) and len(str(error).splitlines()) == 1, str(error)
        return True
    return False


@pytest.fixture(name="refused")
def refused_fixture() -> Callable[..., bool]:
    return refused


class Toy(AttentionNet):
    """A network of a few hundred parameters that shows nothing but logits."""

    def __init__(self, classes: int) -> None:
        body = mx.gluon.nn.HybridSequential()
        body.add(mx.gluon.nn.Conv2D(4, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))
        body.add(mx.gluon.nn.Dense(classes), mx.gluon.nn.HybridLambda(lambda F, x: (x,)))
        super().__init__(body)
        self.classes = classes

    def trace(self, images: Any) -> Any:
        return Logits(self(images))

    def objective(self, config: Any) -> Classification:
        return Classification.of(self, config)


class Logits(NamedTuple):
    logits: Any


def toy_splits(batch_size: int, part: Tuple[int, int] = (0, 1)) -> Splits:
    """Forty images of three classes that brightness tells apart."""
    labels = np.arange(40) % 3
    noise = np.random.RandomState(0).randint(60, size=(40, 1, 6, 6))
    images = (noise + 60 * labels[:, None, None, None]).astype("uint8")
    kind = dict(classes=3, transform=Normalise((0.5,), (0.25,)))
    train = ArrayBatches(images, labels, batch_size, shuffle=True, part=part, **kind)
    held = ArrayBatches(images[:15], labels[:15], batch_size, **kind)
    return Splits(train, held, held, ["a", "b", "c"], (0.5,), (0.25,))


@pytest.fixture
def train_toy(tmp_path: Path) -> Callable[..., Dict[str, Any]]:
    """A function of settings that trains the toy in `tmp_path / "toy"` and gives the result."""

    def run(**settings: Any) -> Dict[str, Any]:
        kind = dict(epochs=3, batch_size=8, optimizer="sgd", num_gpus=0, log_dir=str(tmp_path))
        return engine.train(Config(**{**kind, **settings}), "toy", Toy, toy_splits)

    return run
