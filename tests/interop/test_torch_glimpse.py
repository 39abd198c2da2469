"""The glimpse network of PyTorch: its names, and an LSTM whose gates stand in another order."""

from __future__ import annotations

from typing import Dict

from gluon_attention import UserError, get_model
from gluon_attention.interop.checkpoints import from_layout, layout_of
from gluon_attention.training.config import Config

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Given:
    """A tensor of a file."""

    def __init__(self, *shape: int) -> None:
        self.shape, self.values = shape, np.random.randn(*shape).astype("f4") * 0.1

    def array(self) -> np.ndarray:
        return self.values


def glimpse_tensors(hidden: int, classes: int) -> Dict[str, Given]:
    tensors = {
        f"core.weight_{kind}": Given(4 * hidden, n) for kind, n in (("ih", 4096), ("hh", hidden))
    }
    tensors.update({f"core.bias_{kind}": Given(4 * hidden) for kind in ("ih", "hh")})
    shapes = {"fc1": (1, 2048, 1, 1), "W_v": (hidden // 2, 2048), "W_g": (hidden // 2, hidden)}
    shapes["W_h"] = (1, hidden // 2)
    tensors.update({f"location.{name}.weight": Given(*shape) for name, shape in shapes.items()})
    for name, count in (("action", classes), ("baseline", 1)):
        tensors.update({f"{name}.fc.weight": Given(count, hidden), f"{name}.fc.bias": Given(count)})
    blocks = ["0.weight", *(f"1.{kind}" for kind in NORM)]
    for stage, count in enumerate((3, 4, 6, 3), 4):
        for number in range(count):
            for n in (1, 2, 3):
                blocks.append(f"{stage}.{number}.conv{n}.weight")
                blocks += [f"{stage}.{number}.bn{n}.{kind}" for kind in NORM]
        blocks.append(f"{stage}.0.downsample.0.weight")
        blocks += [f"{stage}.0.downsample.1.{kind}" for kind in NORM]
    return {
        **tensors,
        **{f"{who}.resnet.{b}": Given(1) for who in ("glimpse", "context") for b in blocks},
    }


def test_glimpse_network() -> None:
    tensors, hidden = glimpse_tensors(16, 7), 16
    layout = layout_of(tensors)
    net = get_model("glimpse_resnet50", **layout.options(tensors))
    arrays, unused = from_layout(layout, net, tensors)
    assert set(arrays) == set(net._collect_params_with_prefix())
    assert all("num_batches_tracked" in n or n.startswith("context.") for n in unused)
    core = net.controller.core
    core.step.weight._load_init(nd.array(arrays["body.controller.core.step.weight"]), mx.cpu())
    core.step.bias._load_init(nd.array(arrays["body.controller.core.step.bias"]), mx.cpu())
    seen, state = np.random.randn(3, 4096).astype("f4"), np.random.randn(3, 2 * hidden).astype("f4")
    given = {name: tensors[f"core.{name}"].values for name in ("weight_ih", "weight_hh")}
    gates = seen @ given["weight_ih"].T + state[:, :hidden] @ given["weight_hh"].T
    gates += tensors["core.bias_ih"].values + tensors["core.bias_hh"].values
    squeeze = lambda x: 1 / (1 + np.exp(-x))
    enter, keep, fresh, leave = np.split(gates, 4, axis=1)  # the order of PyTorch
    memory = squeeze(keep) * state[:, hidden:] + squeeze(enter) * np.tanh(fresh)
    wanted = np.concatenate([squeeze(leave) * np.tanh(memory), memory], axis=1)
    np.testing.assert_allclose(core(nd.array(seen), nd.array(state)).asnumpy(), wanted, 1e-3, 1e-4)
    with pytest.raises(UserError, match="only in a net with .*location='mirrored'"):
        from_layout(layout, get_model("glimpse_mobilenet_v2", hidden=16), tensors)
    with pytest.raises(UserError, match="not for training"):
        net.objective(Config()).groups()
