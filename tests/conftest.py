"""What all tests share: a seed that a failure prints and GLUON_ATTENTION_SEED replays."""

from __future__ import annotations

import os
import random
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set, Tuple

from gluon_attention import UserError
from gluon_attention.__main__ import main
from gluon_attention.datasets.sampling import ArrayBatches, Normalise, Splits
from gluon_attention.tasks.task import Classification
from gluon_attention.training import engine, monitor
from gluon_attention.training.config import Config
from gluon_attention.zoo.attention_net import AttentionNet

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


draw_curves = monitor._draw_curves


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: Any) -> None:
    """Runs of tests draw no curves, which take longer than to train what is small."""
    monkeypatch.setattr(monitor, "_draw_curves", lambda path, history: None)


@pytest.fixture
def curves(without_curves: None, monkeypatch: Any) -> None:
    """The curves of a test that looks at them."""
    monkeypatch.setattr(monitor, "_draw_curves", draw_curves)


@pytest.fixture
def shell(capsys: Any) -> Callable[..., Tuple[int, List[str], List[str]]]:
    """`gluon-attention` of some words: its status, lines of output and of errors."""

    def run(*words: Any) -> Tuple[int, List[str], List[str]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        shown = capsys.readouterr()
        return stopped.value.code, shown.out.splitlines(), shown.err.splitlines()

    return run


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
        return Classification.from_config(self, config)


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
    test = ArrayBatches(images[15:25], labels[15:25], batch_size, **kind)
    return Splits(train, held, test, ["a", "b", "c"], (0.5,), (0.25,))


@pytest.fixture
def takes_seed_and_part() -> Callable[[Callable[..., Splits]], None]:
    """A check of a function that loads a data set: its order, shard and validation images."""

    def held(load: Callable[..., Splits], seed: int) -> Set[bytes]:
        train, validation = load(seed=seed, part=(1, 2))[:2]
        assert (train.shuffle, train.seed, train.part) == (True, seed, (1, 2))
        assert train.samples * 2 in (len(train.labels), len(train.labels) - 1)
        return {validation.identity(row) for row in range(validation.samples)}

    def check(load: Callable[..., Splits]) -> None:
        assert held(load, 3) != held(load, 4)

    return check


@pytest.fixture
def moves_in_training() -> Callable[[Splits, bool], None]:
    def check(splits: Splits, moving: bool) -> None:
        train, *still = (part.load.__self__.view for part in splits[:3])
        assert train == replace(splits.view, random=moving) and still == [splits.view] * 2

    return check


@pytest.fixture
def train_toy(tmp_path: Path) -> Callable[..., Dict[str, Any]]:
    """A function of settings that trains the toy in `tmp_path / "toy"` and gives the result."""

    def run(network: Any = Toy, run: str = "toy", **settings: Any) -> Dict[str, Any]:
        kind = dict(epochs=3, batch_size=8, optimizer="sgd", num_gpus=0, log_dir=str(tmp_path))
        return engine.train(Config(**{**kind, **settings}), run, network, toy_splits)

    return run


class Call(NamedTuple):
    """A call that a pickle asks for."""

    path: Any
    arguments: Tuple[Any, ...]


class Whole(NamedTuple):
    """An object of a class that only its author has."""

    path: str
    state: Dict[str, Any]


class View(NamedTuple):
    """A tensor as a file describes it."""

    base: np.ndarray
    offset: int
    shape: Tuple[Any, ...]
    strides: Tuple[int, ...]


class TorchFiles:
    """Writes what torch.save would, opcode by opcode; bytes stand for a pickle as they are."""

    call = staticmethod(lambda path, *arguments: Call(path, arguments))
    whole, view = Whole, View
    TYPES = {"f4": "Float", "f8": "Double", "f2": "Half", "u2": "BFloat16", "i8": "Long"}

    def save(self, file: Path, value: Any, old: bool = False, claim: int = 0) -> str:
        """Write in the zip format, or the one before; `claim` is what storages say they hold."""
        self.storages: List[np.ndarray] = []
        self.claim = claim
        pickled = value if isinstance(value, bytes) else b"\x80\x02" + self.write(value) + b"."
        raw = [np.ascontiguousarray(base).tobytes() for base in self.storages]
        if old:
            keys = b"(" + b"".join(self.write(str(key)) for key in range(len(raw))) + b"l"
            keys = b"](" + keys[1:-1] + b"e" if raw else b"]"
            magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
            head = magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}X\x01\0\0\0aK\x01s."
            body = b"".join(
                struct.pack("<q", base.size) + data for base, data in zip(self.storages, raw)
            )
            file.write_bytes(head + pickled + b"\x80\x02" + keys + b"." + body)
        else:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("net/data.pkl", pickled)
                for key, data in enumerate(raw):
                    archive.writestr(f"net/data/{key}", data)
                archive.writestr("net/version", "3\n")
        return str(file)

    def write(self, value: Any) -> bytes:
        """The opcodes that make a value."""
        if isinstance(value, np.ndarray):
            base = value if value.base is None else value.base
            start = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            steps = tuple(step // value.itemsize for step in value.strides)
            value = View(base, start // value.itemsize, value.shape, steps)
        if isinstance(value, View):
            rest = (
                value.offset,
                value.shape,
                value.strides,
                False,
                Call("collections.OrderedDict", ()),
            )
            arguments = b"(" + self.storage(value.base) + b"".join(map(self.write, rest)) + b"t"
            return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"
        if isinstance(value, Call):
            return self.path(value.path) + self.write(tuple(value.arguments)) + b"R"
        if isinstance(value, Whole):
            return self.path(value.path) + b")\x81" + self.write(value.state) + b"b"
        if isinstance(value, dict):
            return b"}(" + b"".join(map(self.write, sum(value.items(), ()))) + b"u"
        if isinstance(value, (tuple, list)):
            inner = b"".join(map(self.write, value))
            return b"(" + inner + b"t" if isinstance(value, tuple) else b"](" + inner + b"e"
        if isinstance(value, str):
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        plain = {None: b"N", True: b"\x88", False: b"\x89"}
        if value is None or isinstance(value, bool):
            return plain[value]
        length = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)

    def path(self, path: Any) -> bytes:
        if isinstance(path, Call):
            return self.write(path)
        module, _, name = path.rpartition(".")
        return f"c{module}\n{name}\n".encode()

    def storage(self, base: np.ndarray) -> bytes:
        known = [number for number, other in enumerate(self.storages) if other is base]
        key = known[0] if known else len(self.storages)
        if not known:
            self.storages.append(base)
        kind = self.path(f"torch.{self.TYPES[base.dtype.str[1:]]}Storage")
        about = (str(key), "cuda:0", self.claim or base.size)
        return b"(" + self.write("storage") + kind + b"".join(map(self.write, about)) + b"tQ"


@pytest.fixture
def torch_files() -> TorchFiles:
    """A writer of PyTorch's files that needs no PyTorch."""
    return TorchFiles()
