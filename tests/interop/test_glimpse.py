"""The glimpse network from PyTorch: all names, and an LSTM whose gates are in another order."""

from __future__ import annotations

from typing import Any, Dict

from gluon_attention import UserError, get_model
from gluon_attention.interop.checkpoints import convert_tensors, format_of
from gluon_attention.training.config import Config

import mxnet as mx
import numpy as np
import pytest
from foreign_states import numbered_resnet50_names
from mxnet import nd


def normal(*shape: int) -> nd.NDArray:
    return nd.random.normal(scale=0.1, shape=shape)


def glimpse_tensors(
    hidden: int, classes: int, attention: int, patches: int = 2
) -> Dict[str, nd.NDArray]:
    """Tensors of a net; those of the backbone have no right shape."""
    shapes = {
        "core.weight_ih": (4 * hidden, 2048 * patches),
        "core.weight_hh": (4 * hidden, hidden),
        "core.bias_ih": (4 * hidden,),
        "core.bias_hh": (4 * hidden,),
        "location.fc1.weight": (1, 2048, 1, 1),
        "location.W_v.weight": (attention, 2048),
        "location.W_g.weight": (attention, hidden),
        "location.W_h.weight": (1, attention),
        "action.fc.weight": (classes, hidden),
        "action.fc.bias": (classes,),
        "baseline.fc.weight": (1, hidden),
        "baseline.fc.bias": (1,),
    }
    for holder in ("glimpse", "context"):
        shapes.update({f"{holder}.resnet.{name}": (1,) for name in numbered_resnet50_names()})
    return {name: normal(*shape) for name, shape in shapes.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_step(tensors: Dict[str, Any], features: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Hidden state and cell of PyTorch's LSTM cell."""
    weights = {name: tensors[f"core.{name}"].asnumpy() for name in ("weight_ih", "weight_hh")}
    hidden, cell = np.split(state, 2, axis=1)
    gates = features @ weights["weight_ih"].T + hidden @ weights["weight_hh"].T
    gates += (tensors["core.bias_ih"] + tensors["core.bias_hh"]).asnumpy()
    in_gate, forget_gate, update, out_gate = np.split(gates, 4, axis=1)  # PyTorch's order
    cell = sigmoid(forget_gate) * cell + sigmoid(in_gate) * np.tanh(update)
    return np.concatenate([sigmoid(out_gate) * np.tanh(cell), cell], axis=1)


def test_every_tensor_has_a_place_and_the_lstm_is_the_same() -> None:
    hidden = 16
    tensors = glimpse_tensors(hidden, classes=7, attention=24)
    form = format_of(tensors)
    net = get_model("glimpse_resnet50", **form.options(tensors))
    arrays, unused = convert_tensors(form, net, tensors)
    parameters = net._collect_params_with_prefix()
    assert set(arrays) == set(parameters) and net.controller.reach == 1
    for name in (name for name in arrays if name.startswith("body.controller.")):
        assert arrays[name].shape == parameters[name].shape, name
    assert all("num_batches_tracked" in n or n.startswith("context.") for n in unused)
    core = net.controller.core
    for kind in ("weight", "bias"):
        array = nd.array(arrays[f"body.controller.core.step.{kind}"])
        getattr(core.step, kind)._load_init(array, mx.cpu())
    features, state = normal(3, 4096), normal(3, 2 * hidden)
    expected = lstm_step(tensors, features.asnumpy(), state.asnumpy())
    np.testing.assert_allclose(core(features, state).asnumpy(), expected, 1e-3, 1e-4)
    with pytest.raises(UserError, match="need a net with .*location='mirrored'"):
        convert_tensors(form, get_model("glimpse_mobilenet_v2", hidden=16), tensors)
    with pytest.raises(UserError, match="cannot be trained"):
        net.objective(Config()).groups()


def test_a_single_glimpse_has_no_use_for_the_attention_of_later_ones() -> None:
    tensors = glimpse_tensors(hidden=8, classes=3, attention=4)
    form = format_of(tensors)
    net = get_model("glimpse_resnet50", **form.options(tensors), glimpses=1)
    arrays, unused = convert_tensors(form, net, tensors, overrides=("glimpses",))
    assert set(arrays) == set(net._collect_params_with_prefix())
    assert {f"location.W_{part}.weight" for part in "vgh"} <= set(unused)


@pytest.mark.parametrize(("patches", "start_size"), [(1, 2), (2, 2), (3, 1)])
def test_options_are_those_of_the_tensors(patches: int, start_size: int) -> None:
    tensors = glimpse_tensors(hidden=8, classes=3, attention=4, patches=patches)
    options = format_of(tensors).options(tensors)
    assert (options["patches"], options["start_size"]) == (patches, start_size)
    assert options["backbone"] == "resnet50_v1.5_5x5"  # its first convolution is 5x5
    assert (options["hidden"], options["classes"], options["attention"]) == (8, 3, None)
