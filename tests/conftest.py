"""Fixtures of all tests; a failure prints its seed, and GLUON_ATTENTION_SEED replays it."""

from __future__ import annotations

import os
import random
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

from gluon_attention import UserError
from gluon_attention.__main__ import main
from gluon_attention.datasets.sampling import Splits
from gluon_attention.training import engine, monitor
from gluon_attention.training.config import MixupConfig

import mxnet as mx
import numpy as np
import pytest
from builders import Toy, toy_splits
from fuzzing import bounded
from hypothesis import HealthCheck, given, settings
from torch_writer import TorchWriter

pytest_plugins = ["machine"]

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def seed(request: Any) -> int:
    """Seed all random number generators, differently for each test."""
    value = int(os.environ.get("GLUON_ATTENTION_SEED") or zlib.crc32(request.node.nodeid.encode()))
    value %= 2**31
    random.seed(value)
    np.random.seed(value)
    mx.random.seed(value)
    request.node.user_properties.append(("seed", value))
    return value


draw_curves = monitor._draw_curves


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: Any) -> None:
    """Training runs draw no curves: it takes longer than to train a small network."""
    monkeypatch.setattr(monitor, "_draw_curves", lambda path, history: None)


@pytest.fixture
def curves(without_curves: None, monkeypatch: Any) -> None:
    """Training runs of this test draw curves."""
    monkeypatch.setattr(monitor, "_draw_curves", draw_curves)


@pytest.fixture
def shell(capsys: Any) -> Callable[..., Tuple[int, List[str], List[str]]]:
    """A function that runs `gluon-attention`: exit status, lines of stdout and of stderr."""

    def run(*words: Any) -> Tuple[int, List[str], List[str]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(word) for word in words])
        streams = capsys.readouterr()
        return exit.value.code, streams.out.splitlines(), streams.err.splitlines()

    return run


@pytest.fixture(params=[False, True], ids=["imperative", "hybridized"])
def hybridize(request: Any) -> bool:
    """Whether to call `net.hybridize()`: networks must behave alike both ways."""
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any) -> Iterator[None]:
    """Add to a failure how to replay it with the same random numbers."""
    report = (yield).get_result()
    value = dict(item.user_properties).get("seed")
    if report.failed and value is not None:
        report.sections.append(("seed", f"replay with GLUON_ATTENTION_SEED={value}"))


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "all"])
def fuzz(request: Any) -> Callable[..., None]:
    """A function that checks random inputs, each in bounded time and memory.

    The slow tier checks `more` times as many.
    """

    def run(cases: int, strategy: Any, check: Callable[[Any], None], more: int = 50) -> None:
        checks = list(HealthCheck)
        cases *= more if request.param else 1
        profile = settings(max_examples=cases, suppress_health_check=checks)

        def case(value: Any) -> None:
            with bounded():
                check(value)

        profile(given(strategy)(case))()

    return run


def refused(call: Callable[[], Any]) -> bool:
    """Whether a call raises a UserError, which must be one line."""
    try:
        call()
    except UserError as error:
        assert str(error) and len(str(error).splitlines()) == 1, str(error)
        return True
    return False


@pytest.fixture(name="refused")
def refused_fixture() -> Callable[..., bool]:
    return refused


@pytest.fixture
def seed_decides_validation() -> Callable[[Callable[..., Splits]], None]:
    """A check of a data set function: another seed holds out other validation images."""

    def held_out(load: Callable[..., Splits], seed: int) -> Set[bytes]:
        validation = load(seed=seed).validation
        return {validation.identity(row) for row in range(len(validation))}

    def check(load: Callable[..., Splits]) -> None:
        assert held_out(load, 3) != held_out(load, 4)

    return check


@pytest.fixture
def only_training_is_random() -> Callable[[Splits, bool], None]:
    def check(splits: Splits, moving: bool) -> None:
        train, *still = (part.load.__self__.view for part in splits[:3])
        assert train == replace(splits.view, random=moving) and still == [splits.view] * 2

    return check


@pytest.fixture
def train_toy(tmp_path: Path) -> Callable[..., Dict[str, Any]]:
    """A function that trains the toy in `tmp_path / "toy"` with some settings: its result."""

    def run(network: Any = Toy, run: str = "toy", **settings: Any) -> Dict[str, Any]:
        kind = dict(epochs=3, batch_size=8, optimizer="sgd", num_gpus=0, log_dir=str(tmp_path))
        return engine.train(MixupConfig(**{**kind, **settings}), run, network, toy_splits)

    return run


@pytest.fixture
def torch_files() -> TorchWriter:
    """Writes files of PyTorch without PyTorch."""
    return TorchWriter()
