"""Networks by name: `get_model`."""

from __future__ import annotations

import numbers
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Sequence, Union

import mxnet as mx
from mxnet import gluon

from .. import fields
from ..errors import UserError
from .attention_net import AttentionNet
from .feature_maps import FeatureMaps
from .loading import load_pretrained
from .pretrained import find_weights
from .registry import Entry, entry, values_of


def get_model(
    name: str,
    classes: Optional[int] = None,
    pretrained: bool = False,
    ctx: Any = None,
    root: Optional[str] = None,
    features_only: bool = False,
    out_indices: Optional[Sequence[int]] = None,
    prefix: Optional[str] = None,
    params: Optional[gluon.ParameterDict] = None,
    **options: Any,
) -> Union[AttentionNet, FeatureMaps]:
    """Build a network by name.

    Args:
        name: one of `list_models()`, in any case.
        classes: length of the logits; None for that of the trained weights, or else of the name's
            own data set; 0 for a network that returns pooled features (N, C) in place of logits.
        pretrained: load trained weights, or fail if the name has none. If their number of classes
            differs, the head is newly initialised and has to be trained.
        ctx: device or devices of the pretrained weights.
        root: folder searched for pretrained weights before the ones that ship with the package.
        features_only: return a block that computes a list of feature maps, not the network.
        out_indices: indices of the feature maps, counted from the finest; None for all.
        prefix: prefix of the names of parameters; None for a unique one.
        params: parameters to share, as `other.collect_params()` returns them.
        options: options of the family, see `options_of(name)`.

    Without `pretrained` the parameters are not initialised: call `net.initialize()`.
    """
    network = entry(name)
    if pretrained not in (True, False):
        raise UserError(
            f"pretrained must be True or False, not {pretrained!a:.60}; load_weights(net, file) "
            "loads a file"
        )
    if classes is None:
        weights = find_weights(network.name, root) if pretrained else {}
        classes = weights.get("classes", network.classes)
    classes, devices = _check_classes(classes), _check_devices(ctx)
    values = _check_options(network, options)
    if out_indices is not None and not features_only:
        raise UserError("out_indices is for features_only=True; add that, or leave it out")
    with _shared(params):
        net = network.build(0 if features_only else classes, values, prefix=prefix, params=params)
    options = {option: getattr(values, option) for option in options}
    net.arguments = dict(name=network.name, classes=net.classes, options=options)
    if pretrained:
        load_pretrained(net, network.name, ctx=devices, root=root)
    if not features_only:
        return net
    maps = FeatureMaps(net.layers(), out_indices, prefix=net.prefix)
    maps.arguments = net.arguments
    return maps


@contextmanager
def _shared(params: Optional[gluon.ParameterDict]) -> Iterator[None]:
    """Let a network built inside share these parameters; frozen ones stay frozen."""
    if params is None:
        yield
        return
    before = {parameter: parameter._grad_req for parameter in params.values()}
    for parameter in before:
        if parameter._differentiable:  # Gluon compares this with what a new layer would have
            parameter._grad_req = "write"
    try:
        yield
    except AssertionError as error:
        raise UserError(f"params are of another network: {' '.join(str(error).split())}") from None
    finally:
        for parameter, request in before.items():
            if parameter._grad_req != "null":  # not frozen by the new network
                parameter._grad_req = request


def _check_options(network: Entry, options: Dict[str, Any]) -> Any:
    """The options of a network: the defaults of its name, and the caller's values over them."""
    accepted = values_of(network.options)
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise UserError(
            f"{network.name} has no option '{unknown[0]}'; it has {', '.join(accepted)}"
        )
    return fields.replace(network.options, options)


def _check_classes(classes: Any) -> int:
    if not isinstance(classes, numbers.Integral) or classes < 0:
        raise UserError(
            f"classes must be a whole number above 0, or 0 for features, not {classes!r}"
        )
    return int(classes)


def _check_devices(ctx: Any) -> Any:
    """A device, or a list of them; the CPU if None."""
    devices = [ctx or mx.cpu()] if not isinstance(ctx, (list, tuple)) else list(ctx)
    if not devices or not all(isinstance(device, mx.Context) for device in devices):
        raise UserError(f"ctx must be a device such as mx.cpu(), or a list, not {ctx!a:.60}")
    return devices
