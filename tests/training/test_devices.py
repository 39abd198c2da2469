"""Which devices are used; BatchNorm over two devices equals that of one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, List, Optional

from gluon_attention import UserError, runtime
from gluon_attention.training.devices import choose_devices, share_statistics

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon, nd

STEPS, BATCH = 20, 8


def network(devices):
    """The same weights each time it is called, two layers of BatchNorm, on the devices."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(4, 3, in_channels=2), gluon.nn.BatchNorm(in_channels=4))
    net.add(gluon.nn.Activation("relu"), gluon.nn.Conv2D(4, 3, in_channels=4))
    net.add(gluon.nn.BatchNorm(in_channels=4), gluon.nn.Dense(3, in_units=64))
    net.initialize(ctx=devices)
    rng = np.random.RandomState(1)
    for parameter in net.collect_params().values():
        if parameter.grad_req != "null":
            parameter.set_data(nd.array(rng.normal(0, 0.3, parameter.shape)))
    if len(devices) > 1:
        share_statistics(net, devices)
        assert sum(type(block).__name__ == "SyncBatchNorm" for block in net) == 2
    net.hybridize(static_alloc=True)
    return net


def train(devices):
    """Gradients of the first step and parameters after the last, as flat lists."""
    net, rng = network(devices), np.random.RandomState(2)
    sgd = dict(learning_rate=0.05, momentum=0.9)
    trainer = gluon.Trainer(net.collect_params(), "sgd", sgd, update_on_kvstore=False)
    loss, first = gluon.loss.SoftmaxCrossEntropyLoss(), None
    for _ in range(STEPS):
        batch = nd.array(rng.randn(BATCH, 2, 8, 8)), nd.array(np.arange(BATCH) % 3)
        shards = zip(*(gluon.utils.split_and_load(array, devices) for array in batch))
        with autograd.record():
            losses = [loss(net(images), labels) for images, labels in shards]
        autograd.backward(losses)
        if first is None:
            trained = [p for p in net.collect_params().values() if p.grad_req != "null"]
            first = [sum(g.asnumpy() for g in p.list_grad()).tolist() for p in trained]
        trainer.step(BATCH)
    nd.waitall()
    return first, [p.list_data()[-1].asnumpy().tolist() for p in net.collect_params().values()]


def test_two_devices_equal_one():
    """In a process of its own: MXNet reads the variable only once."""
    environment = dict(os.environ, MXNET_CPU_TEMP_COPY="4096", OMP_NUM_THREADS="1")
    process = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=100
    )
    assert process.returncode == 0, process.stderr
    for one, two in zip(train([mx.cpu(0)]), json.loads(process.stdout)):
        assert len(one) == len(two)
        for array, other in zip(one, two):
            np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-5)


BRANCHES = """import mxnet as mx
import numpy as np
from gluon_attention import get_model
from gluon_attention.training.devices import prepare
devices = [mx.cpu(0), mx.cpu(1)]
net = get_model("cifar_residual_attention56_slim")
prepare(net, np.zeros((1, 3, 32, 32), "float32"), devices, sync_bn=True)
with mx.autograd.record():
    sums = [net(mx.nd.ones((2, 3, 32, 32), ctx=device)).sum() for device in devices]
mx.autograd.backward(sums)
mx.nd.waitall()
print(*(total.asscalar() for total in sums))
"""


@pytest.mark.slow
def test_operators_of_parallel_branches_do_not_wait_for_each_other():
    """With 64 workspaces they did, for ever."""
    environment = dict(os.environ, MXNET_CPU_TEMP_COPY="4096", OMP_NUM_THREADS="1")
    command = [sys.executable, "-c", BRANCHES]
    process = subprocess.run(command, env=environment, stdout=-1, text=True, timeout=500)
    one, two = map(float, process.stdout.split())
    assert one == pytest.approx(two, rel=1e-5)


def test_cpu_devices_that_would_deadlock_are_refused(monkeypatch):
    monkeypatch.delenv("MXNET_CPU_TEMP_COPY", raising=False)
    with pytest.raises(UserError, match="MXNET_CPU_TEMP_COPY=4096"):
        share_statistics(gluon.nn.BatchNorm(), [mx.cpu(0), mx.cpu(1)])


def test_one_device_and_lower_precision(train_toy):
    train_toy(epochs=1, sync_bn=True)
    with pytest.raises(UserError, match="float32 only"):
        train_toy(epochs=1, sync_bn=True, dtype="bfloat16")


if __name__ == "__main__":
    print(json.dumps(train([mx.cpu(0), mx.cpu(1)])))


@pytest.mark.parametrize(
    ("num_gpus", "available", "expected"),
    [
        (None, 0, [mx.cpu(0)]),
        (None, 2, [mx.gpu(0), mx.gpu(1)]),
        (0, 2, [mx.cpu(0)]),
        (1, 2, [mx.gpu(0)]),
    ],
)
def test_choose_devices(
    num_gpus: Optional[int], available: int, expected: List[mx.Context], monkeypatch: Any
) -> None:
    monkeypatch.setattr(mx.context, "num_gpus", lambda: available)
    monkeypatch.setattr(runtime, "visible_gpus", lambda: [runtime.GPU(i, (8, 0)) for i in (0, 1)])
    assert choose_devices(num_gpus) == expected


def test_more_gpus_than_available_are_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 1)
    with pytest.raises(UserError, match="--num-gpus 2 .* 1 that .*--num-gpus 0"):
        choose_devices(2)


def test_only_used_gpus_have_to_be_supported(monkeypatch: Any) -> None:
    gpus = [runtime.GPU(0, (8, 0)), runtime.GPU(1, (9, 0))]
    monkeypatch.setattr(mx.context, "num_gpus", lambda: 2)
    monkeypatch.setattr(runtime, "visible_gpus", lambda: gpus)
    assert choose_devices(1) == [mx.gpu(0)]
    with pytest.raises(UserError, match="GPU 1 has compute capability 9.0"):
        choose_devices()


def test_cuda_that_fails_is_reported(monkeypatch: Any) -> None:
    def fail() -> int:
        raise mx.MXNetError("trace\nCUDA driver version is insufficient")

    monkeypatch.setattr(mx.context, "num_gpus", fail)
    with pytest.raises(UserError, match="driver version is insufficient.*--num-gpus 0"):
        choose_devices()
