"""Conversion of a checkpoint to a file of this package with a description of its network."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, Dict, NamedTuple, Optional

import numpy as np
from mxnet import nd

from ..errors import UserError
from ..installation import INTERPRETER
from ..storage.atomic import write_text
from ..storage.params import write_parameters
from ..storage.safetensors_file import write_safetensors
from ..zoo.attention_net import AttentionNet
from ..zoo.build import get_model
from ..zoo.registry import entry, options_of
from .checkpoints import format_of, gluoncv_data
from .load import OWN, LoadReport, load_weights, read
from .tensor_table import fitting
from .tensors import Tensor
from .torch_process import torch_outputs, torch_python


class Converted(NamedTuple):
    """The result of `convert`."""

    net: AttentionNet
    arguments: Dict[str, Any]  # of the call of get_model that builds the net
    report: LoadReport
    assumed: Dict[str, Any]  # options that the file does not contain, and their values
    note: str  # a further assumption


def convert(
    source: str,
    name: str,
    target: str,
    classes: Optional[int] = None,
    options: Optional[Dict[str, Any]] = None,
    data: Optional[Dict[str, Any]] = None,
) -> Converted:
    """Write the weights in `source` to `target`, with a description of their network.

    Args:
        source: a file that `load_weights` accepts.
        name: registered name of the network; the kind of file adds options that it needs.
        target: file to write; the description is `x.json` beside `x.params`, or in `x.safetensors`.
        classes: length of the logits, if the file does not contain it.
        options: of the network; they override those of the file.
        data: normalisation and names of classes, if the kind of file does not define them.
    """
    description = os.path.splitext(target)[0] + ".json"
    if os.path.realpath(source) in (os.path.realpath(target), os.path.realpath(description)):
        raise UserError(f"{target} is the source, too; choose another to write")
    if target.lower().endswith(".json"):
        raise UserError(f"{target} must not end in .json, which describes its network: use .params")
    overrides, network, tensors = options or {}, entry(name), read(source)
    form = format_of(tensors)
    required: Dict[str, Any] = {}
    if form:
        with fitting(source):
            required = {**form.assumed, **form.options(tensors)}
        if set(required) - set(options_of(network.name)) - {"classes"}:
            raise UserError(f"{source} is of {form.origin}, and {network.name} is no such network")
    classes = classes or required.pop("classes", None) or network.classes
    required.pop("classes", None)
    net = get_model(network.name, classes, **{**required, **overrides})
    report = load_weights(net, source, overrides=tuple(overrides))
    document: Dict[str, Any] = {"network": net.arguments}
    data = data or (form.data(net) if form else gluoncv_data(net) if network.alias else {})
    if data:
        document["data"] = data
    write(net, target, document)
    values = {**options_of(network.name), **net.arguments["options"]}
    unspecified = (*form.assumed, *form.unspecified) if form else ()
    assumed = {option: values[option] for option in unspecified if option not in overrides}
    non_defaults = {
        k: v for k, v in net.arguments["options"].items() if v != options_of(network.name)[k]
    }
    arguments = {"name": network.name, "classes": classes, **non_defaults}
    return Converted(net, arguments, report, assumed, form.note(net) if form else "")


def write(net: AttentionNet, target: str, document: Dict[str, Any]) -> None:
    """Write the weights of a net, and its description in the file or beside it."""
    if target.lower().endswith(".safetensors"):
        named = net._collect_params_with_prefix().items()
        arrays = {name: p.data(p.list_ctx()[0]).asnumpy() for name, p in named}
        metadata = {key: json.dumps(value) for key, value in document.items()}
        write_safetensors(target, arrays, {**OWN, **metadata})
        return
    write_parameters(target, net.save_parameters)
    write_text(os.path.splitext(target)[0] + ".json", json.dumps(document, indent=2) + "\n")


def difference(converted: Converted, source: str, module: str) -> Dict[str, float]:
    """The difference of the outputs of the net from those of the PyTorch module of the file.

    Args:
        converted: result of `convert`.
        source: the file.
        module: `MODULE:CALLABLE`, imported from the working directory and called without arguments
            by the Python that GLUON_ATTENTION_TORCH names. The module gets the tensors of the
            file.
    """
    tensors = read(source)
    shape = entry(converted.arguments["name"]).shape
    images = np.random.RandomState(0).randn(2, *shape).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        weights = {
            n: t.array() for n, t in tensors.items() if isinstance(t, Tensor) and t.is_real()
        }
        np.savez(os.path.join(folder, "weights.npz"), **weights)
        expected = torch_outputs(module, images, folder)
    if expected is None:
        raise UserError(
            f"{torch_python()} has no PyTorch; {INTERPRETER} can name a Python that has it"
        )
    form = format_of(tensors)
    images = images[:, ::-1] if form and form.bgr else images
    trace = converted.net.trace(nd.array(images))
    outputs = (trace.scale_logits if expected.ndim == 3 else trace.logits).asnumpy()
    if outputs.shape != expected.shape:
        raise UserError(f"{module} returns {expected.shape}, and the net {outputs.shape}")
    return {
        "difference": float(abs(outputs - expected).max()),
        "largest": float(abs(expected).max()),
    }
