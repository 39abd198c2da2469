"""Loading of arrays into the parameters of a net, by name, after checks."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any, Dict, List, Optional, Tuple

from mxnet import gluon, nd

from ..errors import UserError
from ..storage.atomic import read_bytes
from ..storage.params import read_parameters
from .attention_net import AttentionNet
from .classifier import Classifier
from .freezing import named_blocks
from .pretrained import find_weights

Arrays = Dict[str, Any]  # of NDArrays or numpy arrays
Parameters = Dict[str, gluon.Parameter]


def load_pretrained(net: AttentionNet, name: str, ctx: Any, root: Optional[str] = None) -> None:
    """Load the weights of a name into its net; those in `root` come before the shipped ones."""
    weights = find_weights(name, root)
    file = weights["file"]
    if not os.path.isfile(file) or sha256(read_bytes(file)).hexdigest() != weights["sha256"]:
        raise UserError(
            f"{file} is missing or not the file that its index.json describes; "
            "fetch it again or run without pretrained"
        )
    load_arrays(net, read_parameters(file), file, ctx=ctx, new_head=True)


def load_arrays(
    net: gluon.Block,
    arrays: Arrays,
    file: str,
    origin: str = "gluon_attention",
    ctx: Any = None,
    new_head: bool = False,
) -> None:
    """Set every parameter of a net from the array of its name; refuse other arrays.

    Args:
        net: its parameters keep their types, whatever those of the arrays are.
        arrays: by name.
        file, origin: source of the arrays, for messages.
        ctx: device or devices of parameters that have none yet.
        new_head: accept arrays of a net for another number of classes, and those of a smaller net
            that `adapt_weights` can extend; layers of another number of classes are then newly
            initialised.
    """
    if isinstance(net, AttentionNet):
        arrays = _without_classifiers(net, arrays)
    parameters = net._collect_params_with_prefix()
    heads: Parameters = {}
    if new_head:
        arrays = net.adapt_weights({name: as_ndarray(array) for name, array in arrays.items()})
        heads = {name: parameters.pop(name) for name in _mismatched_heads(net, arrays, parameters)}
    inputs = {name: arrays[name].shape[1:] for name in heads}
    arrays = {name: array for name, array in arrays.items() if name not in heads}
    check_arrays(arrays, parameters, file, origin)
    set_parameters(parameters, arrays, ctx)
    for name, parameter in heads.items():
        parameter.shape = (net.classes, *inputs[name])
        parameter.initialize(ctx=ctx, default_init=net.initializer, force_reinit=True)


def check_arrays(arrays: Arrays, parameters: Parameters, file: str, origin: str) -> None:
    """Refuse arrays if one is missing, has another shape, or belongs to no parameter."""
    advice = "build the net with the name, classes and options that the file was saved from"
    if all("." in name for name in parameters) and not any("." in name for name in arrays):
        advice = "its names are those of collect_params().save: save with net.save_parameters"
    if any(name.startswith("arg:") for name in arrays):
        advice = "it is a part of an exported graph: give the name, file or run of its weights"
    for name, parameter in parameters.items():
        if name not in arrays:
            raise UserError(f"{file} ({origin}) has no '{name}', which the net has; {advice}")
        shape, expected = arrays[name].shape, parameter.shape or ()
        if not _fits(shape, expected):
            sizes = "(" + ", ".join("any" if n == 0 else str(n) for n in expected) + ")"
            raise UserError(
                f"'{name}' is {shape} in {file} ({origin}) and {sizes} in the net; {advice}"
            )
    extra = [name for name in arrays if name not in parameters]
    if extra:
        raise UserError(f"{file} ({origin}) has '{extra[0]}', which the net lacks; {advice}")


def set_parameters(parameters: Parameters, arrays: Arrays, ctx: Any = None) -> None:
    """Set parameters, initialised or not, from arrays of their names."""
    for name, parameter in parameters.items():
        parameter._load_init(as_ndarray(arrays[name]), ctx, cast_dtype=True)


def as_ndarray(array: Any) -> nd.NDArray:
    return array if isinstance(array, nd.NDArray) else nd.array(array)


def _without_classifiers(net: AttentionNet, arrays: Arrays) -> Arrays:
    """The arrays without those of classifiers, if the net has no classes."""
    if net.classes:
        return arrays
    paths = [path for path, block in named_blocks(net) if isinstance(block, Classifier)]
    names = {f"{path}.{part}" for path in paths for part in ("weight", "bias")}
    return {name: array for name, array in arrays.items() if name not in names}


def _mismatched_heads(net: AttentionNet, arrays: Arrays, parameters: Parameters) -> List[str]:
    """Names of the parameters of heads for which the file has another number of classes."""
    names: List[str] = []
    for name in set(parameters) & set(arrays) if net.classes else ():
        shape, expected = arrays[name].shape, parameters[name].shape
        same_inputs = len(shape) == len(expected) and _fits(shape[1:], expected[1:])
        if expected[0] == net.classes != shape[0] and same_inputs:
            names.append(name)
    return names


def _fits(shape: Tuple[int, ...], expected: Tuple[int, ...]) -> bool:
    """Whether shapes are equal; a 0 in the expected shape is any size."""
    return len(shape) == len(expected) and all(w in (0, n) for n, w in zip(shape, expected))
