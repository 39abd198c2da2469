"""Trained networks by one word: a name with weights, a file of parameters, or the folder of a run.

A run describes itself in `config.json`: its network, the names of the classes, how pictures become
inputs. `x.json` beside `x.params` does the same for any file of parameters. The caller can override
and complete these facts.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
from mxnet.base import MXNetError

from ..datasets.view import View, default_view
from ..errors import UserError
from ..interop.load import load_weights
from ..training.config import BEST
from ..zoo.attention_net import AttentionNet
from ..zoo.build import get_model
from ..zoo.pretrained import all_weights
from ..zoo.registry import entry, list_models, options_of
from .description import (
    Description,
    check_sides,
    describe,
    read_description,
)

EXPORTED = re.compile(r"(-symbol\.json|-\d{4}\.params|\.onnx)$")  # files that `export` writes


class Model(NamedTuple):
    """A network with its weights, and the facts that its use needs."""

    net: AttentionNet
    name: str  # registered
    classes: Sequence[str]  # names, or numbers where the names are unknown
    view: View  # how pictures become inputs
    source: Optional[Dict[str, Any]]  # name and options of the data set it was trained on
    settings: Dict[str, Any]  # flags of its training run, if there was one

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Channels, height and width of an input."""
        return len(self.view.mean), self.view.size, self.view.size

    @property
    def device(self) -> mx.Context:
        return self.net.device


class Overrides(NamedTuple):
    """Facts from the caller; None leaves a fact to the description beside the file."""

    name: Optional[str] = None
    classes: Optional[int] = None
    options: Optional[Dict[str, Any]] = None  # added to those of the description
    class_names: Optional[Sequence[str]] = None
    size: Optional[int] = None
    mean: Optional[Sequence[float]] = None
    std: Optional[Sequence[float]] = None


def open_model(
    word: str,
    overrides: Optional[Overrides] = None,
    ctx: Optional[mx.Context] = None,
    untrained: bool = False,
) -> Model:
    """The network that a word stands for, with its weights.

    Args:
        word: folder of a run, file of parameters, or name of a network that has weights.
        overrides: facts that take precedence over the description beside the file.
        ctx: device of the weights.
        untrained: use random weights for a name, even if it has trained ones.
    """
    overrides, ctx = overrides or Overrides(), ctx or mx.cpu()
    is_run = os.path.isdir(word)
    if not is_run and not os.path.isfile(word):
        if os.sep in word or word.endswith((".params", ".safetensors", ".json", ".onnx")):
            raise UserError(f"there is no {word}; give a run's folder, a .params file or a name")
        return _open_name(word, overrides, ctx, untrained)
    if untrained:
        raise UserError(f"--untrained is for a name, and {word} has weights; leave it out")
    file = os.path.join(word, BEST) if is_run else word
    if not os.path.isfile(file):
        raise UserError(f"{word} is no run with a best epoch: it lacks {BEST}; train it first")
    return _open_file(file, overrides, ctx)


def _open_name(word: str, overrides: Overrides, ctx: mx.Context, untrained: bool) -> Model:
    """A registered network with the weights that ship with the package, or with random ones."""
    name = entry(word).name
    if overrides.name:
        raise UserError(f"--model is for a file of parameters; '{word}' is a name already")
    if not untrained:
        _check_weights(name, overrides.classes)
    net = get_model(
        name, overrides.classes, pretrained=not untrained, ctx=ctx, **(overrides.options or {})
    )
    if untrained:
        net.initialize(net.initializer, ctx=ctx)
    return _assemble(net, name, overrides, shipped_description(name))


def shipped_description(name: str) -> Description:
    """The description of the weights that ship for a name; empty without such weights."""
    weights = all_weights().get(name, {})
    data = {key: weights[key] for key in ("source", "view") if key in weights}
    return describe("index.json", {"data": dict(data, classes=weights.get("names"))})


def _check_weights(name: str, classes: Optional[int]) -> None:
    """Refuse a name without weights, and weights for another number of classes."""
    shipped = all_weights().get(name)
    if shipped is None:
        names = ", ".join(each for each in list_models() if each in all_weights())
        raise UserError(
            f"{name} comes without trained weights (with them: {names}); give a .params "
            f"file with --model {name}, or the folder of a run"
        )
    if classes not in (None, shipped["classes"]):
        raise UserError(
            f"the weights of {name} are for {shipped['classes']} classes, not {classes}; "
            "leave out --classes"
        )


def _open_file(file: str, overrides: Overrides, ctx: mx.Context) -> Model:
    """A network with the weights of a file, of a run or not."""
    description = read_description(file)
    name = _network_name(file, overrides, description)
    network = description.network
    if entry(name).name != network.get("name"):
        network = {}  # classes and options of another network
    options = {**(network.get("options") or {}), **(overrides.options or {})}
    foreign = sorted(set(options) - set(options_of(name)))  # `get_model` has other arguments
    if foreign:
        raise UserError(
            f"{name} has no option '{foreign[0]}'; gluon-attention info {name} lists those it has"
        )
    net = get_model(name, overrides.classes or network.get("classes"), **options)
    load_weights(net, file, ctx)
    return _assemble(net, entry(name).name, overrides, description)


def _network_name(file: str, overrides: Overrides, description: Description) -> str:
    """The registered name of the network that a file holds weights of."""
    name = overrides.name or description.network.get("name")
    # A file `net-0000.params` is accepted if its network is known.
    if EXPORTED.search(file) and not (name and file.endswith(".params")):
        raise UserError(
            f"{file} is a part of an exported graph, which MXNet or onnxruntime run by "
            "themselves; give the name, .params file or run that it was exported from"
        )
    if name:
        return name
    if description.unregistered:
        raise UserError(
            f"the network of {file} is not registered, so that only the script that trained it can "
            "load it; give the run of another network"
        )
    raise UserError(
        f"the network of {file} is unknown, as no .json is beside it: add --model, and --classes "
        "and --options if they differ from the defaults"
    )


def _assemble(
    net: AttentionNet, name: str, overrides: Overrides, description: Description
) -> Model:
    """A model of a network with weights."""
    names = overrides.class_names or description.data.get("classes") or []
    if len(names) != net.classes:
        if overrides.class_names:
            raise UserError(
                f"{len(names)} class names do not fit the {net.classes} classes of the network"
            )
        names = range(net.classes)
    view = _view(name, overrides, description.data)
    source = description.data.get("source")
    model = Model(net, name, [str(each) for each in names], view, source, description.settings)
    if not accepts(net, model.shape):
        raise UserError(
            f"{name} with these options does not accept images of shape {model.shape}: "
            "add --size, --mean and --std of its training images"
        )
    return model


def accepts(net: AttentionNet, shape: Tuple[int, int, int]) -> bool:
    """Whether the shapes of a network's weights fit images (C, H, W)."""
    try:
        net(mx.sym.var("images")).infer_shape_partial(images=(1, *shape))
    except MXNetError:
        return False
    return True


def view_of(name: str, description: Description) -> View:
    """The view of a description, or else the default one of a registered network."""
    return _view(name, Overrides(), description.data)


def _view(name: str, overrides: Overrides, data: Dict[str, Any]) -> View:
    view = default_view(entry(name).shape)
    if data.get("view"):
        view = View(**check_sides(data["view"]))
    mean, std = (
        next(values for values in choices if values is not None)
        for choices in (
            (overrides.mean, data.get("mean"), view.mean),
            (overrides.std, data.get("std"), view.std),
        )
    )
    if len(mean) not in (1, 3) or len(mean) != len(std):
        raise UserError(f"mean and std are one number or three each, not {mean} and {std}")
    view = replace(view, mean=tuple(mean), std=tuple(std))
    if overrides.size:
        short = round(view.short / view.size * overrides.size)
        view = replace(view, size=overrides.size, short=short)
    return view
