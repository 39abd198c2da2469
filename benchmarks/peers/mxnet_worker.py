"""Contestants on MXNet: `ours`, as commands train and predict by default; `mxnet`, the same without
the native library; and `gluoncv`.

The process of GluonCV does not import gluon_attention, which would let it use all cores.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple

from protocol import Ready, options_of, serve

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OPEN = ExitStack()  # until the process ends
Step = Tuple[Any, Callable[[Any, Any], List[Any]]]  # a gluon.Trainer, and terms of its loss


def ours(case: Dict[str, Any], native: str = "auto") -> Ready:
    """A network of this repository and the task that trains it; `native`: of `--native`."""
    sys.path.insert(0, ROOT)
    import gluon_attention
    from gluon_attention.export.cost import cost
    from gluon_attention.native import library
    from gluon_attention.training.accelerate import accelerate
    from gluon_attention.training.config import Config
    from gluon_attention.training.devices import choose_devices, set_precision

    net = gluon_attention.get_model(case["network"], case["classes"], **options_of(case))
    version = f"gluon_attention {gluon_attention.__version__}"
    if case["mode"] == "train":
        accelerate(net, Config(dtype=case["dtype"], native=native), choose_devices(0))
    elif case["dtype"] == "bfloat16":
        set_precision(case["dtype"], choose_devices(0))

    def updates() -> List[Step]:
        task = net.objective(SimpleNamespace(**vars(Config()), **case.get("settings", {})))
        blocks = {group.name: group.blocks for group in task.groups()}
        return [
            (
                trainer([block for name in u.groups for block in blocks[name]]),
                lambda images, labels, loss=u.loss: list(loss(images, labels).values()),
            )
            for u in task.updates(0)
        ]

    deployed = partial(deploy, native=native) if case["mode"] == "inference" else None
    ready = start(case, net, updates, version, deployed)
    part = net.native_parts[0]
    if part.native or part.predictor:
        _, mxnet = ready.version.split(", ")
        ready = ready._replace(version=f"{version}, native on {library().instruction_set}, {mxnet}")
    return ready._replace(multiply_adds=cost(net, tuple(case["shape"])).multiply_adds)


def deploy(net: Any, images: Any, dtype: str, native: str) -> Any:
    """What predicts: the native library, or what `gluon-attention export` writes, read back.

    That is as fast where the library computes only parts of a network.
    """
    from gluon_attention.training.accelerate import prediction
    from gluon_attention.training.devices import choose_devices

    is_known = dtype != "int8" and list(net.native_parts) == [net]
    choice = native if is_known else "0"
    OPEN.enter_context(prediction(net, choice, choose_devices(0), dtype))
    is_export = dtype != "bfloat16" and not net.native_parts[0].predictor
    return export(net, images, dtype) if is_export else net


def export(net: Any, images: Any, dtype: str) -> Any:
    """What `gluon-attention export --fused` or `--int8` writes, read back."""
    from gluon_attention.export.fusion import as_block, fuse
    from gluon_attention.export.graph import as_graph
    from gluon_attention.export.int8 import quantize

    graph = as_graph(net)
    block = as_block(quantize(graph, images.asnumpy()) if dtype == "int8" else fuse(graph))
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def gluoncv(case: Dict[str, Any]) -> Ready:
    """The same network of GluonCV's zoo."""
    sys.modules["torch"] = None  # GluonCV refuses to be imported where it finds PyTorch 2
    from gluoncv.model_zoo import get_model
    from mxnet import gluon
    from mxnet.contrib import amp

    if case["dtype"] != "float32":
        amp.init(target_dtype=case["dtype"])
    net = get_model(case["network"], classes=case["classes"])
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    return start(
        case,
        net,
        lambda: [(trainer([net]), lambda images, labels: [loss(net(images), labels)])],
        "gluoncv 0.10.5",
    )


def trainer(blocks: List[Any]) -> Any:
    """SGD with momentum over the parameters of some blocks."""
    from mxnet import gluon

    parameters = gluon.ParameterDict()
    for block in blocks:
        parameters.update(block.collect_params())
    settings = {"learning_rate": 0.01, "momentum": 0.9, "wd": 1e-4}
    return gluon.Trainer(parameters, "sgd", settings, kvstore=None)


def start(
    case: Dict[str, Any],
    net: Any,
    updates: Callable[[], List[Step]],
    version: str,
    deployed: Optional[Callable[..., Any]] = None,
) -> Ready:
    """A contestant that computes steps on random images."""
    import mxnet as mx

    mx.random.seed(0)
    batch = case["batch"]
    images = mx.nd.random.normal(shape=(batch, *case["shape"]))
    labels = mx.nd.array([i % case["classes"] for i in range(batch)], dtype="int32")
    net.initialize(mx.init.Xavier())
    getattr(net, "trace", net)(images[:1])  # only a trace reaches all parameters of ours
    trained = [p for p in net.collect_params().values() if p.grad_req != "null"]
    parameters = sum(p.data().size for p in trained)
    net.hybridize(static_alloc=True, static_shape=True)
    if deployed:
        net = deployed(net, images, case["dtype"])
    steps_of_training = updates() if case["mode"] == "train" else []

    def run(steps: int) -> None:
        for _ in range(steps):
            if not steps_of_training:
                net(images)
            for optimizer, loss in steps_of_training:
                with mx.autograd.record():
                    total = sum(part.sum() for part in loss(images, labels))
                total.backward()
                optimizer.step(batch)
        mx.nd.waitall()

    return Ready(run, parameters, f"{version}, mxnet {mx.__version__}")


if __name__ == "__main__":
    without = partial(ours, native="0")
    serve({"ours": ours, "mxnet": without, "gluoncv": gluoncv}[sys.argv[1]])
