"""The native twin of a network trains as the network does, whatever it is asked."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Tuple

from gluon_attention import UserError, get_model
from gluon_attention.native import Twin, library, twin
from gluon_attention.ops import resize
from gluon_attention.zoo.backbones import backbone
from gluon_attention.zoo.freezing import freeze, frozen_stats_twin

import mxnet as mx
import numpy as np
import pytest
from builders import RESIDUAL_OPTIONS
from mxnet import autograd, gluon, nd
from mxnet.base import MXNetError

SLIM = "cifar_residual_attention56_slim"
LARGE = [
    ("cifar_residual_attention92", 32),
    ("cifar_residual_attention56_deep", 32),
    ("residual_attention56", 96),
    ("residual_attention56_448", 128),
    ("residualattentionnet92", 64),
]


def network(name: str = SLIM, devices: Any = None, **options: Any) -> gluon.Block:
    net = get_model(name, classes=10, **options)
    net.initialize(mx.init.MSRAPrelu(), ctx=devices)
    return net


def images(count: int = 4, size: int = 16, device: Any = None) -> nd.NDArray:
    return nd.random.normal(shape=(count, 3, size, size), ctx=device)


def step(forward: Callable, x: nd.NDArray) -> nd.NDArray:
    """One forward and backward pass; logits."""
    labels = nd.arange(len(x), ctx=x.context) % 10
    with autograd.record():
        logits = forward(x)
        loss = -nd.log_softmax(logits).pick(labels).sum()
    loss.backward()
    return logits


def state(net: gluon.Block) -> Dict[str, np.ndarray]:
    """Parameters and gradients."""
    arrays = {n: p.data() for n, p in net.collect_params().items()}
    arrays.update(
        (f"{n}.g", p.grad()) for n, p in net.collect_params().items() if p.grad_req != "null"
    )
    return {name: array.asnumpy().copy() for name, array in arrays.items()}


def restore(net: gluon.Block, arrays: Dict[str, np.ndarray]) -> None:
    for name, parameter in net.collect_params().items():
        parameter.set_data(nd.array(arrays[name]))
        if parameter.grad_req != "null":
            parameter.zero_grad()


def equal(one: Dict[str, np.ndarray], other: Dict[str, np.ndarray]) -> bool:
    return all((array == other[name]).all() for name, array in one.items())


def parity(net: gluon.Block, x: nd.NDArray) -> Tuple[float, float]:
    """How far native logits are from MXNet's, and those from MXNet's for pixels moved by 1e-7."""
    net.trace(x)
    moved = x * (1 + 1e-7 * nd.random.normal(shape=x.shape))
    with autograd.record():
        logits, others = net(x), (Twin(net)(x), net(moved))
    native, sensitivity = (float(abs(other - logits).max().asscalar()) for other in others)
    return native, sensitivity


def check_parity(net: gluon.Block, x: nd.NDArray) -> None:
    """Logits, masks and statistics; gradients as far as a random network lets them be equal."""
    distance, sensitivity = parity(net, x)
    close = max(1e-4, 10 * sensitivity)
    assert distance < close
    start = state(net)
    step(net, x)
    theirs = state(net)
    restore(net, start)
    native_net = Twin(net)
    step(native_net, x)
    mine = state(net)
    for name, array in theirs.items():
        if "running" in name:
            np.testing.assert_allclose(mine[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    one, two = (
        np.concatenate([a.ravel() for n, a in s.items() if n.endswith(".g")])
        for s in (theirs, mine)
    )
    assert one @ two > 0.99 * np.linalg.norm(one) * np.linalg.norm(two)
    with autograd.record():
        logits, masks = native_net.trace(x)
        trace = net.trace(x)
    np.testing.assert_allclose(logits.asnumpy(), trace.logits.asnumpy(), atol=close)
    for mask, expected_mask in zip(masks, trace.masks):
        np.testing.assert_allclose(mask.asnumpy(), expected_mask.asnumpy(), atol=1e-2)


@pytest.mark.parametrize("options", RESIDUAL_OPTIONS, ids=str)
def test_equals_its_network(options: Dict[str, Any]) -> None:
    check_parity(network(**options), images(8))


@pytest.mark.parametrize("name", ["mobilenetv2_1.0", "vgg11_bn", "tiny"])
def test_a_network_that_is_not_trained_passes_gradients_on(name: str) -> None:
    net, x = backbone(name), images(2, 64)
    net.initialize(mx.init.Xavier())
    for _ in range(10):  # statistics of these images
        step_features(net, x)
    frozen, before, results = frozen_stats_twin(net), state(net), []
    for forward in (frozen, Twin(frozen, image_gradient=True, trained=False)):
        x.attach_grad()
        outputs = step_features(forward, x)
        results.append((outputs.asnumpy(), x.grad.asnumpy().ravel()))
        again = forward(x)  # not recorded
        np.testing.assert_allclose(again.asnumpy(), results[-1][0], rtol=1e-3, atol=1e-4)
        if forward is frozen:
            restore(net, before)
    (expected, one), (actual, other) = results
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert one @ other > 0.9999 * np.linalg.norm(one) * np.linalg.norm(other)
    assert all((p.grad() == 0).asnumpy().all() for p in net.collect_params(".*weight").values())


def test_gradients_are_computed_of_what_is_trained_now() -> None:
    net, x = network(), images(4)
    net(x)
    native_net, start = Twin(net), state(net)
    kernels = [p for p in net.collect_params().values() if len(p.shape) == 4]
    for request in ("null", "write"):
        for kernel in kernels:
            kernel.grad_req = request
        library().profile(True)
        step(native_net, x)
        nd.waitall()
        steps = " ".join(library().profiled())
        library().profile(False)
        assert ("to weights" in steps) == (request == "write")
    actual = state(net)
    restore(net, start)
    step(net, x)
    for name, expected in state(net).items():
        if name.endswith("weight.g"):
            one, other = expected.ravel(), actual[name].ravel()
            assert one @ other > 0.99 * np.linalg.norm(one) * np.linalg.norm(other), name


@pytest.mark.parametrize("name", ["mobilenetv2_1.0", "resnet18_v1", "vgg11"])
def test_nothing_passes_through_layers_below_the_first_trained_one(name: str) -> None:
    net, x = backbone(name), images(2, 64)
    net.initialize(mx.init.Xavier())
    net(x)
    last = [p for p in net.collect_params().values() if len(p.shape) == 4][-1]
    freeze(net)
    last.grad_req = "write"
    with autograd.record():
        net(x).backward()
    expected = last.grad().asnumpy()
    library().profile(True)
    step_features(Twin(net), x)
    nd.waitall()
    steps = library().profiled()
    library().profile(False)
    assert not [step for step in steps if "to data" in step or step == "pool back"]
    scale = abs(expected).max()
    np.testing.assert_allclose(last.grad().asnumpy(), expected, rtol=1e-3, atol=1e-4 * scale)


def step_features(forward: Callable, x: nd.NDArray) -> nd.NDArray:
    """One forward and backward pass; feature maps."""
    with autograd.record():
        features = forward(x)
    features.backward()
    return features


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, gluon.Block], gluon.Block]:
    """A function that copies a network into one that computes in float64."""
    weights = resize._weights

    def float64_weights(F: Any, source: Any, axis: int, target: Any, target_axis: int) -> Any:
        hat = weights(F, source.astype("float32"), axis, target.astype("float32"), target_axis)
        return hat.astype(source.dtype)

    def copy(name: str, net: gluon.Block) -> gluon.Block:
        other = network(name)
        other(images())
        for parameter, source in zip(*(n.collect_params().values() for n in (other, net))):
            parameter.set_data(source.data())
        gluon.HybridBlock.cast(other, "float64")
        return other

    monkeypatch.setattr(resize, "_weights", float64_weights)
    return copy


def results(net: gluon.Block, forward: Callable, x: nd.NDArray) -> Tuple[np.ndarray, ...]:
    """Logits, running statistics and gradients, the last two as one vector each."""
    logits = step(forward, x).asnumpy()
    arrays = state(net)
    return logits, *(
        np.concatenate([a.ravel() for n, a in arrays.items() if part in n]).astype("float64")
        for part in ("running", ".g")
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), LARGE)
def test_large_networks_err_no_more_than_mxnet(
    name: str, size: int, double: Callable[[str, gluon.Block], gluon.Block]
) -> None:
    """Rounding adds up in a large network: the reference is float64 in MXNet."""
    net, x = network(name), images(8, size)
    net.trace(x)
    exact_net, start = double(name, net), state(net)
    exact = results(exact_net, exact_net, x.astype("float64"))
    theirs = results(net, net, x)
    restore(net, start)
    native_net = Twin(net)
    mine = results(net, native_net, x)
    for expected, actual, other in zip(exact, mine, theirs):
        scale = np.linalg.norm(expected)
        error, mxnet_error = (np.linalg.norm(a - expected) / scale for a in (actual, other))
        assert error < 1.5 * mxnet_error < 0.1
    with autograd.record():
        masks, expected_masks = native_net.trace(x)[1], net.trace(x).masks
    for mask, expected_mask in zip(masks, expected_masks):
        np.testing.assert_allclose(mask.asnumpy(), expected_mask.asnumpy(), atol=1e-2)


@pytest.mark.slow
def test_few_values_of_a_channel_amplify_rounding() -> None:
    """BatchNorm over the 4 pixels of one image divides by small deviations, layer after layer."""
    net = network("residual_attention56_448")
    distance, sensitivity = parity(net, images(1, 96))
    assert 1e-3 < distance < 10 * sensitivity


@pytest.fixture(scope="module")
def pair() -> Tuple[gluon.Block, Twin]:
    """A network and its twin, whose programs are native_net once."""
    net = network()
    net.trace(images())
    return net, Twin(net)


def test_repeats_bit_for_bit(pair: Tuple[gluon.Block, Twin]) -> None:
    net, native_net = pair
    x, start = images(), state(net)
    step(native_net, x)
    first = state(net)
    restore(net, start)
    step(native_net, x)
    assert equal(first, state(net))


def test_is_not_asked_to_infer(pair: Tuple[gluon.Block, Twin], refused: Callable) -> None:
    assert refused(lambda: pair[1](images()))


def test_two_forwards_before_a_backward(pair: Tuple[gluon.Block, Twin]) -> None:
    net, native_net = pair
    x, other, start = images(), images(), state(net)
    step(native_net, x)
    alone = state(net)
    restore(net, start)
    with autograd.record():
        loss = -nd.log_softmax(native_net(x)).pick(nd.arange(4)).sum()
        ignored = native_net(other)
    loss.backward()
    assert equal({n: a for n, a in alone.items() if n.endswith(".g")}, state(net))
    ignored.wait_to_read()


def test_backward_twice_is_refused(pair: Tuple[gluon.Block, Twin]) -> None:
    with autograd.record():
        loss = pair[1](images()).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(MXNetError, match="backward twice"):
        loss.backward()
        nd.waitall()


def test_other_batches_between(pair: Tuple[gluon.Block, Twin]) -> None:
    net, native_net = pair
    x, start = images(), state(net)
    step(native_net, x)
    first = state(net)
    for count in (3, 8, 1):
        step(native_net, images(count))
    restore(net, start)
    step(native_net, x)
    assert equal(first, state(net))


def test_frozen_parameters_stay_without_gradients(pair: Tuple[gluon.Block, Twin]) -> None:
    net, native_net = pair
    x, start = images(), state(net)
    step(native_net, x)
    free = state(net)
    restore(net, start)
    frozen = [p for n, p in net.collect_params().items() if "attentionmodule0" in n]
    frozen = [p for p in frozen if p.grad_req != "null"]
    try:
        for parameter in frozen:
            parameter.grad_req = "null"
        step(native_net, x)
        rest = state(net)
    finally:
        for parameter in frozen:
            parameter.grad_req = "write"
    assert frozen and equal(rest, free)


def test_two_threads(pair: Tuple[gluon.Block, Twin]) -> None:
    """Two networks at once give what each gives alone."""
    nets = [network(), network()]
    batches = [images(), images()]
    for net, x in zip(nets, batches):
        net.trace(x)
    starts = [state(net) for net in nets]
    twins = [Twin(net) for net in nets]
    for native_net, x in zip(twins, batches):
        step(native_net, x)
    alone = [state(net) for net in nets]
    for net, start in zip(nets, starts):
        restore(net, start)
    threads = [threading.Thread(target=step, args=both) for both in zip(twins, batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal(before, state(net)) for before, net in zip(alone, nets))


def test_two_devices() -> None:
    """Gradients and statistics of each device are those of its share of the batch."""
    devices = [mx.cpu(0), mx.cpu(1)]
    net = network(devices=devices)
    shares = [images(4, device=device) for device in devices]
    net(shares[0])
    native_net = Twin(net)
    with autograd.record():
        losses = [native_net(share).sum() for share in shares]
    autograd.backward(losses)
    conv = net.body.stem[0].weight
    both = [conv.grad(device).asnumpy() for device in devices]
    with autograd.record():
        loss = native_net(shares[1].as_in_context(devices[0])).sum()
    loss.backward()
    assert (conv.grad(devices[0]).asnumpy() == both[1]).all()
    assert (both[0] != both[1]).any()


def test_images_of_another_size_need_no_other_twin(pair: Tuple[gluon.Block, Twin]) -> None:
    assert step(pair[1], images(2, 24)).shape == (2, 10)


def test_wrong_arrays_are_refused(pair: Tuple[gluon.Block, Twin]) -> None:
    """What MXNet raises has one line of the library's own."""
    with pytest.raises(MXNetError, match="another shape"), autograd.record():
        pair[1](nd.zeros((2, 4, 16, 16)))


def test_unknown_parts_are_left_to_mxnet() -> None:
    net = network()
    net.body.stem[1].__class__ = gluon.contrib.nn.SyncBatchNorm
    assert twin(net) is None
    assert twin(gluon.nn.Dense(3)) is None
    with pytest.raises(UserError):
        Twin(network(), dtype="float16")


def test_not_a_number_is_seen(pair: Tuple[gluon.Block, Twin]) -> None:
    x = images()
    x[0, 0, 0, 0] = np.nan
    with autograd.record():
        logits = pair[1](x)
    assert np.isnan(logits.asnumpy()).any()


@pytest.mark.parametrize("steps", [20, pytest.param(5000, marks=pytest.mark.slow)])
def test_memory_is_flat(pair: Tuple[gluon.Block, Twin], steps: int) -> None:
    native_net, sizes = pair[1], []
    for number in range(steps):
        step(native_net, images(2 + number % 3, 8))
        if number >= 9:
            sizes.append(library().memory())
    assert len(set(sizes)) == 1
