"""Public PyTorch networks: how their files name what the networks of the zoo have.

Each layout says which options make a network of the zoo compute the same numbers, and where every
parameter of it comes from. What a source keeps but does not use is on a list.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mxnet import gluon

from ..errors import UserError
from ..zoo.glimpse.network import GlimpseNet
from ..zoo.racnn.network import RACNN
from ..zoo.ram.network import RecurrentAttention
from ..zoo.residual_attention.network import ResidualAttention
from . import torch_networks as networks
from .tensor_table import Arrays, TensorTable


class Layout(NamedTuple):
    """A kind of checkpoint, and how it gets into a network."""

    origin: str
    marks: Sequence[str]  # names that no other kind has
    net: type
    options: Callable[[Arrays], Dict[str, Any]]  # of a network that equals the source
    convert: Callable[[Any, TensorTable, Dict[str, Any]], Arrays]  # by the names of the net
    unused: str  # pattern of names that the source keeps for nothing
    norm: Sequence[Sequence[float]]  # mean and std of pixel / 255 that it was trained with
    bgr: bool = False  # whether the source sees blue first; the net sees red first


def layout_of(tensors: Arrays) -> Optional[Layout]:
    """The kind of checkpoint that names tell of."""
    known = (kind for kind in LAYOUTS if all(mark in tensors for mark in kind.marks))
    return next(known, None)


def from_layout(layout: Layout, net: gluon.Block, tensors: Arrays) -> Tuple[Arrays, List[str]]:
    """A checkpoint in the names of a net, and what has no use, all of which is on the list."""
    if not isinstance(net, layout.net):
        raise UserError(
            f"these are weights of {layout.origin}, and the net is a {type(net).__name__}"
        )
    supply = TensorTable(tensors)
    arrays = layout.convert(net, supply, layout.options(tensors))
    over = [name for name in supply.left if not re.fullmatch(layout.unused, name)]
    if over:
        raise UserError(f"it has '{over[0]}' ({layout.origin}), which the net has no place for")
    return arrays, list(supply.left)


_BATCHES = r"(.*\.)?num_batches_tracked"
LAYOUTS = (
    Layout(
        "PyTorch's ResidualAttentionModel",
        ("residual_block1.conv1.weight", "attention_module1.last_blocks.conv1.weight", "fc.weight"),
        ResidualAttention,
        networks.residual_options,
        networks.residual_arrays,
        rf"{_BATCHES}|.*\.conv4\.weight",
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ),
    Layout(
        "PyTorch's RecurrentAttention",
        ("sensor.fc1.weight", "rnn.i2h.weight", "locator.fc.weight", "classifier.fc.weight"),
        RecurrentAttention,
        networks.recurrent_options,
        networks.recurrent_arrays,
        _BATCHES,
        ((0.1307,), (0.3081,)),
    ),
    Layout(
        "PyTorch's RACNN",
        ("classifier1.weight", "classifier3.weight", "apn1.0.weight", "apn2.2.weight"),
        RACNN,
        networks.scales_options,
        networks.scales_arrays,
        _BATCHES + r"|b[123]\.(features\.18|classifier|last_linear|linear\d)\..*",
        ((123.88 / 255, 127.34 / 255, 109.97 / 255), (1 / 255, 1 / 255, 1 / 255)),
        bgr=True,
    ),
    Layout(
        "PyTorch's Recurrent_Attention",
        ("core.weight_ih", "core.weight_hh", "location.W_v.weight", "glimpse.resnet.0.weight"),
        GlimpseNet,
        networks.glimpse_options,
        networks.glimpse_arrays,
        _BATCHES + r"|context\.resnet\..*|location\.W_.\.weight",
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
)
