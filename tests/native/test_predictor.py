"""A predictor gives what its network gave when it was made."""

from __future__ import annotations

import gc
import json
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List

from gluon_attention import get_model, list_models
from gluon_attention.native import Predictor, library, predictor
from gluon_attention.native.predictor import fold
from gluon_attention.native.program import Program
from gluon_attention.training import accelerate

import mxnet as mx
import numpy as np
import pytest
from builders import RESIDUAL_OPTIONS
from mxnet import autograd, gluon, nd
from mxnet.base import MXNetError

IMAGENET = Path(__file__).parents[2] / "data" / "sample" / "imagenet"
SLIM = "cifar_residual_attention56_slim"
PARTS = [
    ("racnn_vgg19", dict(backbone="tiny", crops=(16,)), 32),
    ("racnn_mobilenet_v2", dict(crops=(32,), shared=True), 64),
    ("racnn_mobilenet_v2_activation", dict(crops=(32,)), 128),
    ("glimpse_resnet50_stage1", dict(backbone="resnet18_v1", patch=32), 128),
]


def network(name: str = SLIM, size: int = 16, classes: int = 10, **options: Any) -> gluon.Block:
    """A network none of whose normalizations does nothing, and that does not amplify rounding."""
    net = get_model(name, classes=classes, **options)
    net.initialize(mx.init.Xavier())
    net.trace(images(1, size))
    for parameter in net.collect_params().values():
        if parameter.name.endswith(("gamma", "running_var")):
            scale = 0.3 if parameter.name.endswith("gamma") else 1
            parameter.set_data(scale * nd.random.uniform(0.5, 1.5, parameter.shape))
        elif parameter.name.endswith(("beta", "running_mean")):
            parameter.set_data(nd.random.uniform(-0.5, 0.5, parameter.shape))
    return net


def images(count: int = 2, size: int = 16, device: Any = None) -> nd.NDArray:
    return nd.random.normal(shape=(count, 3, size, size), ctx=device)


def check(actual: nd.NDArray, expected: nd.NDArray) -> None:
    expected = expected.asnumpy()
    np.testing.assert_allclose(
        actual.asnumpy(), expected, atol=1e-4 * max(1, np.abs(expected).max())
    )


@pytest.mark.parametrize("options", [*RESIDUAL_OPTIONS, dict(classes=0)], ids=str)
def test_equals_its_network(options: Dict[str, Any]) -> None:
    net, x = network(**options), images()
    check(Predictor(net)(x), net(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models("*residual_attention*"))
def test_equals_every_residual_attention_network(name: str) -> None:
    size = 32 if name.startswith("cifar") else 64
    net, x = network(name, size), images(2, size)
    check(Predictor(net)(x), net(x))


@pytest.fixture(scope="module")
def net() -> gluon.Block:
    return network()


def test_every_size_has_its_own_plan_and_the_same_weights(net: gluon.Block) -> None:
    predict, batches = Predictor(net), [images(*shape) for shape in ((1, 16), (9, 32), (1, 16))]
    for x in batches:
        check(predict(x), net(x))
    assert (predict(batches[0]).asnumpy() == predict(batches[0]).asnumpy()).all()


def test_normalizations_become_part_of_convolutions(net: gluon.Block) -> None:
    """Those that remain are in front of units, masks and the classifier."""
    program = Program()
    net.lower(program)
    values = [parameter.data().asnumpy() for parameter in program.parameters]
    kinds = [i.operator for i in fold(program.instructions, values)]
    units = sum(type(block).__name__ == "BottleneckV2" for block in blocks(net))
    modules = len(net.trace(images()).masks)
    assert kinds.count("norm") == units + modules + 1


def blocks(block: gluon.Block) -> Any:
    yield block
    for child in block._children.values():
        yield from blocks(child)


def test_values_are_those_of_when_it_was_made() -> None:
    net, x = network(), images()
    before, frozen = net(x), Predictor(net)
    for parameter in net.collect_params().values():
        parameter.set_data(parameter.data() * 1.1)
    check(frozen(x), before)
    check(Predictor(net)(x), net(x))
    assert abs(before - net(x)).max() > 0.01


def test_what_nobody_holds_is_given_back(net: gluon.Block) -> None:
    x, size = images(), []
    for _ in range(3):
        predict = Predictor(net)
        for count in (1, 2):
            predict(images(count)).wait_to_read()
        size.append(library().memory())
    number = predict._number
    del predict
    gc.collect()
    assert size[0] == size[-1]
    with pytest.raises(MXNetError, match="no native program"):
        library().run(number, [x])


def test_threads_and_devices_share_a_predictor(net: gluon.Block) -> None:
    predict = Predictor(net)
    batches = [images(count, device=mx.cpu(count % 2)) for count in (1, 2, 3, 4)]
    expected, results = [net(x.as_in_context(mx.cpu())) for x in batches], {}
    threads = [
        threading.Thread(target=lambda n=n, x=x: results.update({n: predict(x)}))
        for n, x in enumerate(batches)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, logits in enumerate(expected):
        assert results[number].context == batches[number].context
        check(results[number], logits)


def test_what_is_unknown_is_mxnets(refused: Callable) -> None:
    ram, x = get_model("ram_28"), nd.ones((1, 1, 28, 28))
    ram.initialize()
    expected = ram(x)
    assert predictor(ram) is None
    assert refused(lambda: accelerate.prediction(ram, "1", [mx.cpu()]))
    with accelerate.prediction(ram, "auto", [mx.cpu()]):
        assert (ram(x) == expected).min()


def test_computes_inside_of_a_block_and_not_while_training(net: gluon.Block, calls: Any) -> None:
    x = images()
    expected = net(x)
    with accelerate.prediction(net, "1", [mx.cpu()], "float16"):  # which the library has not
        check(net(x), expected)
        check(net.predict(x), expected.softmax())
        assert len(calls) == 2
        with autograd.record():
            net(x)
        with autograd.train_mode():
            net(x)
    net(x)
    assert len(calls) == 2


@pytest.fixture
def calls(monkeypatch: Any) -> List[Predictor]:
    """Predictors, once for each time that they computed."""
    calls, run = [], Predictor.__call__
    call = lambda self, x: calls.append(self) or run(self, x)  # noqa: E731
    monkeypatch.setattr(Predictor, "__call__", call)
    return calls


@pytest.mark.parametrize(("name", "options", "size"), PARTS, ids=lambda part: str(part))
def test_parts_of_a_network(name: str, options: Any, size: int, calls: Any) -> None:
    net, x = network(name, size, classes=3, **options), images(2, size)
    net.hybridize(static_alloc=True, static_shape=True)
    expected = net.trace(x)
    with accelerate.prediction(net, "1", [mx.cpu()]):
        actual = net.trace(x)
        check(net(x), expected.logits)
    assert len(calls) >= 2
    for one, other in zip(actual, expected):
        for array, theirs in zip(
            *(part if isinstance(part, list) else [part] for part in (one, other))
        ):
            check(array, theirs)
    count = len(calls)
    assert (net(x) == expected.logits).min() and net._active and len(calls) == count


def test_evaluate_and_predict_say_the_same(shell: Any, tmp_path: Path, calls: Any) -> None:
    file, classes = tmp_path / "slim.params", len(os.listdir(IMAGENET / "val"))
    net = network(classes=classes)
    net.save_parameters(str(file))
    file.with_suffix(".json").write_text(json.dumps(dict(network=net.arguments)))
    picture = next(IMAGENET.glob("val/*/*"))
    words = ["--size", 16, "--json", "--num-gpus", 0, "--native"]
    data = ["--dataset", "imagenet", "--data-dir", IMAGENET]
    for verb, more in (("evaluate", data), ("predict", [picture])):
        (_, plain, _), (_, native, _) = (shell(verb, file, *more, *words, n) for n in (0, 1))
        assert calls
        calls.clear()
        compare(json.loads(native[-1]), json.loads(plain[-1]))


def compare(one: Any, other: Any) -> None:
    """Two reports whose numbers agree to 1e-4."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        for pair in zip(one, other):
            compare(*pair)
    else:
        assert one == (pytest.approx(other, rel=1e-4) if isinstance(one, float) else other)
