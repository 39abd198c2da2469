"""State dicts as PyTorch's public networks name them, filled from networks of GluonCV or zeros."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType
from typing import Dict, List

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd

State = Dict[str, np.ndarray]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
INVERTED = ("0.0", "0.1", "", "1.0", "1.1", "", "2", "3")  # torchvision's, by GluonCV's index
FIRST_INVERTED = ("0.0", "0.1", "", "1", "2")


def with_statistics(net: gluon.Block, *shape: int) -> gluon.Block:
    """Initialise a net so that no parameter has the value of a new one."""
    net.initialize(mx.init.MSRAPrelu())
    with mx.autograd.record():
        net(nd.random.normal(shape=shape))
    for name, parameter in net.collect_params().items():
        if not name.endswith("weight"):
            parameter.set_data(parameter.data() + nd.random.uniform(0, 0.3, shape=parameter.shape))
    return net


def arrays_of(net: gluon.Block) -> State:
    """The parameters of a net by their names in a file."""
    parameters = net._collect_params_with_prefix().items()
    return {name: parameter.data().asnumpy() for name, parameter in parameters}


def import_gluoncv() -> ModuleType:
    """GluonCV; a test is skipped on a Python where it cannot be installed."""
    if sys.version_info >= (3, 12):
        pytest.skip("GluonCV cannot be installed on Python 3.12 or later")
    return importlib.import_module("gluoncv")


def gluoncv_mobilenet(multiplier: str) -> gluon.Block:
    """A MobileNetV2 of GluonCV's, of small variances, or else features depend on no image."""
    net = import_gluoncv().model_zoo.get_model(f"mobilenetv2_{multiplier}")
    for name, parameter in with_statistics(net, 8, 3, 64, 64).collect_params().items():
        if name.endswith("running_var"):
            parameter.set_data(0.1 * parameter.data())
    return net


def mobilenet_state(net: gluon.Block, prefix: str = "") -> State:
    """A MobileNetV2 of GluonCV's as torchvision saves it, with a head of seven classes."""
    features = {n: array for n, array in arrays_of(net).items() if n.startswith("features.")}
    state = {prefix + _mobilenet_name(name): array for name, array in features.items()}
    return {**state, f"{prefix}classifier.1.weight": np.zeros((7, 1280), "f4")}


def _mobilenet_name(name: str) -> str:
    match = re.match(r"features\.(\d+)\.(?:out\.(\d)\.)?(\w+)", name)
    number, index, kind = int(match[1]), match[2], match[3]
    if index is None:
        layer = f"0.{number}" if number < 2 else f"18.{number - 20}"
    else:
        layers = FIRST_INVERTED if number == 3 else INVERTED
        layer = f"{number - 2}.conv.{layers[int(index)]}"
    return f"features.{layer}.{dict(gamma='weight', beta='bias').get(kind, kind)}"


def resnet50_names(stem: str = "conv1", norm: str = "bn1", stages: str = "layer%d") -> List[str]:
    """Names of torchvision's ResNet-50 without its head; stages are numbered from 1."""
    names = [f"{stem}.weight", *(f"{norm}.{kind}" for kind in NORM)]
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for number in range(count):
            block = f"{stages % stage}.{number}"
            pairs = [(f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
            pairs += [("downsample.0", "downsample.1")] * (number == 0)
            for conv, bn in pairs:
                names += [f"{block}.{conv}.weight", *(f"{block}.{bn}.{kind}" for kind in NORM)]
    return names


def numbered_resnet50_names() -> List[str]:
    """The same where the children of the network were put into a sequence."""
    names = resnet50_names("0", "1")
    return [re.sub(r"^layer(\d)", lambda match: str(int(match[1]) + 3), name) for name in names]
