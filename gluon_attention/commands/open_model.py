"""Trained networks by one word: a name with weights, a file of parameters, or the folder of a run.

A run says in its `config.json` which network it trained, what its classes are called and how
pictures become its inputs; so does a JSON file of the same shape beside any file of parameters,
`x.json` for `x.params`. What neither says, or says otherwise, is told by the caller.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import mxnet as mx
from mxnet.base import MXNetError

from ..datasets.view import View, default_view
from ..errors import UserError
from ..interop.load import load_weights
from ..zoo.attention_net import AttentionNet
from ..zoo.pretrained import all_weights
from ..zoo.registry import entry, get_model, list_models

TINY = 1e-6  # smallest std; less makes numbers that float32 does not have
CONFIG, BEST = "config.json", "best.params"
GRAPH = re.compile(r"(-symbol\.json|-\d{4}\.params|\.onnx)$")  # what `export` writes


class Model(NamedTuple):
    """A network and what has to be known to use it."""

    net: AttentionNet
    name: str  # registered
    classes: Sequence[str]  # their names, or their numbers where no names are known
    view: View  # how pictures become inputs
    source: Optional[Dict[str, Any]]  # the data set that it was trained on and its options
    settings: Dict[str, Any]  # of the run, if it is one

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Channels, height and width of an input."""
        return len(self.view.mean), self.view.size, self.view.size

    @property
    def device(self) -> mx.Context:
        return self.net.device


class Overrides(NamedTuple):
    """What a caller says of a network; None leaves it to what is found."""

    name: Optional[str] = None
    classes: Optional[int] = None
    options: Optional[Dict[str, Any]] = None
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
    """The model that a word stands for, with its weights.

    Args:
        word: folder of a run, file of parameters, or name of a network that has weights.
        overrides: what is known better than what stands beside the file.
        ctx: device of the weights.
        untrained: random weights for a name, whether it has others or not.
    """
    ctx, told = ctx or mx.cpu(), overrides or Overrides()
    if untrained and os.path.exists(word):
        raise UserError(f"--untrained is for a name, and {word} has weights; leave it out")
    if os.path.isdir(word):
        return _from_file(os.path.join(word, BEST), told, ctx, run=word)
    if os.path.isfile(word):
        return _from_file(word, told, ctx)
    if os.sep in word or word.endswith((".params", ".json", ".onnx")):
        raise UserError(f"there is no {word}; give a run's folder, a .params file or a name")
    known = entry(word)
    if told.name:
        raise UserError(f"--model is for a file of parameters; '{word}' is a name already")
    network = dict(name=known.name, classes=told.classes, options=told.options or {})
    weights = all_weights().get(known.name)
    if weights is None and not untrained:
        having = ", ".join(name for name in list_models() if name in all_weights())
        raise UserError(
            f"{known.name} comes without trained weights (with them: {having}); give a .params "
            f"file with --model {known.name}, or the folder of a run"
        )
    if weights and not untrained and told.classes not in (None, weights["classes"]):
        raise UserError(
            f"the weights of {known.name} tell {weights['classes']} classes apart, not "
            f"{told.classes}; leave out --classes"
        )
    net = get_model(
        network["name"],
        network["classes"],
        pretrained=not untrained,
        ctx=ctx,
        **network["options"],
    )
    if untrained:
        net.initialize(net.initializer, ctx=ctx)
    data = {k: v for k, v in (weights or {}).items() if k in ("source", "view")}
    return _model(net, known.name, told, dict(data, classes=(weights or {}).get("names")), {})


def _from_file(file: str, told: Overrides, ctx: mx.Context, run: str = "") -> Model:
    if run and not os.path.isfile(file):
        raise UserError(f"{run} is no run with a best epoch: it lacks {BEST}; train it first")
    found = _beside(file)
    network, data = found.get("network") or {}, found.get("data") or {}
    name = told.name or network.get("name")
    if GRAPH.search(file) and not (name and file.endswith(".params")):  # those may be weights
        raise UserError(
            f"{file} is a part of an exported graph, which MXNet or onnxruntime run by "
            "themselves; give the name, .params file or run that it was exported from"
        )
    if not name:
        if "network" in found:
            raise _nameless(file)
        raise UserError(
            f"nothing beside {file} says which network it is for: add --model, and --classes and "
            "--options where they are not the usual ones"
        )
    if told.name and entry(told.name).name != network.get("name"):
        network = {}  # options of another one
    options = network.get("options", {}) if told.options is None else told.options
    net = get_model(name, told.classes or network.get("classes"), **_tuples(options))
    load_weights(net, file, ctx)
    return _model(net, entry(name).name, told, data, found.get("settings") or {})


def _nameless(file: str) -> UserError:
    """The error of a run of a network that `get_model` did not make."""
    backbone = os.path.join(os.path.dirname(file), "backbone.params")
    use = "give the run of another network"
    if os.path.isfile(backbone):  # stage 1 of the glimpse network
        use = f"give its second run, or {backbone} to that script as --backbone-weights"
    return UserError(
        f"the network of {file} has no name, so that only the script that trained it can load it; "
        f"{use}"
    )


def _beside(file: str) -> Dict[str, Any]:
    """What the JSON next to a file of parameters says, if there is any."""
    own = os.path.splitext(file)[0] + ".json"
    for path in (own, os.path.join(os.path.dirname(file), CONFIG)):
        if os.path.isfile(path):
            try:
                with open(path, encoding="utf-8") as text:
                    found = json.load(text)
            except (ValueError, UnicodeDecodeError) as error:
                raise UserError(f"{path} is not whole JSON: {error}") from None
            if isinstance(found, dict) and isinstance(found.get("network", {}), (dict, type(None))):
                return found
    return {}


def _model(
    net: AttentionNet, name: str, told: Overrides, data: Dict[str, Any], settings: Dict[str, Any]
) -> Model:
    """Put together what was told and what was found."""
    names = told.class_names or data.get("classes") or []
    if told.class_names and len(names) != net.classes:
        raise UserError(f"{len(names)} class names do not fit the {net.classes} of the network")
    if len(names) != net.classes:
        names = [str(number) for number in range(net.classes)]
    view, source = _view(name, told, data), data.get("source")
    model = Model(net, name, list(names), view, source, settings)
    if not takes(net, model.shape):
        raise UserError(
            f"{name} as it is built here takes no images of shape {model.shape}: "
            "say --size, --mean and --std of those that it was trained on"
        )
    return model


def takes(net: AttentionNet, shape: Tuple[int, int, int]) -> bool:
    """Whether the shapes of a net's weights go with images (C, H, W)."""
    try:
        net(mx.sym.var("images")).infer_shape_partial(images=(1, *shape))
    except MXNetError:
        return False
    return True


def _view(name: str, told: Overrides, data: Dict[str, Any]) -> View:
    view = View(**_tuples(data["view"])) if data.get("view") else default_view(entry(name).shape)
    mean, std = told.mean or data.get("mean") or view.mean, told.std or data.get("std") or view.std
    if not (_are_numbers(mean) and _are_numbers(std) and len(mean) == len(std)):
        raise UserError(
            f"mean and std are one number or three each, and finite, not {mean} and {std}"
        )
    if min(std) < TINY:
        raise UserError(f"std must be numbers above 0, from {TINY:g} up, not {std}")
    view = replace(view, mean=tuple(mean), std=tuple(std))
    if told.size:
        view = replace(view, size=told.size, short=round(view.short / view.size * told.size))
    return view


def _are_numbers(values: Any) -> bool:
    """Whether these are one or three numbers that images can be computed with."""
    fine = isinstance(values, (tuple, list)) and len(values) in (1, 3)
    return fine and all(isinstance(v, (int, float)) and abs(v) <= 1 / TINY for v in values)


def _tuples(options: Dict[str, Any]) -> Dict[str, Any]:
    """JSON has lists where Python had tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
