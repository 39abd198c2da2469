"""The supported checkpoints of public repositories, and their conversion to nets of the zoo."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mxnet import gluon

from ..errors import UserError
from ..zoo.attention_net import AttentionNet
from ..zoo.glimpse.network import GlimpseNet
from ..zoo.racnn.network import RACNN
from ..zoo.ram.network import RecurrentAttention
from ..zoo.residual_attention.network import ResidualAttention
from . import glimpse, racnn, ram, residual_attention
from .tensor_table import Arrays, TensorTable, check_options

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PIXELS = dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
MNIST = dict(mean=(0.1307,), std=(0.3081,))
# RA-CNN's mean, in the order of the channels that the source reads; its pixels reach 255.
RACNN_MEAN = (109.97 / 255, 127.34 / 255, 123.88 / 255)
RACNN_STD = (1 / 255, 1 / 255, 1 / 255)


class CheckpointFormat(NamedTuple):
    """The files of one network of one public repository.

    Attributes:
        origin: the network at its source.
        marks: patterns of names that identify the format.
        network: class of the equivalent net.
        options: returns the options of the net that the tensors imply, and the number of classes.
        convert: returns the arrays of the net by their names, from a table of the tensors.
        data: how the source prepares images, as in the `.json` of a file.
        unused: pattern of names that the source saves and does not use.
        assumed: options that the tensors do not imply, with the values of the source today.
        unspecified: options that the tensors do not imply and that keep the default of the name.
        note: a further assumption as a sentence, or "".
        bgr: whether the source reads blue first; the net reads red first.
    """

    origin: str
    marks: Sequence[str]
    network: type
    options: Callable[[Arrays], Dict[str, Any]]
    convert: Callable[[Any, TensorTable], Arrays]
    data: Callable[[Any], Dict[str, Any]]
    unused: str = ""
    assumed: Dict[str, Any] = {}
    unspecified: Sequence[str] = ()
    note: Callable[[Any], str] = lambda net: ""
    bgr: bool = False


def format_of(tensors: Arrays) -> Optional[CheckpointFormat]:
    """The format of a file by the names of its tensors, or None."""

    def has(mark: str) -> bool:
        return any(re.fullmatch(mark, name) for name in tensors)

    return next((form for form in FORMATS if all(map(has, form.marks))), None)


def convert_tensors(
    form: CheckpointFormat, net: gluon.Block, tensors: Arrays, overrides: Sequence[str] = ()
) -> Tuple[Arrays, List[str]]:
    """Arrays of a checkpoint by the names of a net, and the names of tensors without a use.

    Args:
        form: format of the checkpoint.
        net: destination of the arrays; its options must be those of the format.
        tensors: of the file.
        overrides: options that the user chose and the tensors do not imply.
    """
    if not isinstance(net, form.network):
        raise UserError(
            f"these are weights of {form.origin}, and the net is a {type(net).__name__}"
        )
    required = form.options(tensors)
    required.pop("classes")  # differs where a new head is trained
    free = set(form.unspecified) & set(overrides)
    check_options(form.origin, net, {k: v for k, v in required.items() if k not in free})
    table = TensorTable(tensors)
    arrays = form.convert(net, table)
    extra = [name for name in table.remaining if not re.fullmatch(form.unused, name)]
    if extra:
        raise UserError(f"it has '{extra[0]}' ({form.origin}), which the net lacks")
    return arrays, list(table.remaining)


def gluoncv_data(net: AttentionNet) -> Dict[str, Any]:
    """GluonCV normalises CIFAR by statistics of its own."""
    if net.arguments["name"].startswith("cifar"):
        return dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    return IMAGENET


def _ram_data(net: RecurrentAttention) -> Dict[str, Any]:
    """The statistics of MNIST, unless the images have colours."""
    return MNIST if net.options.channels == 1 else {}


def _ram_note(net: RecurrentAttention) -> str:
    if net.options.scales == 1:
        return ""
    return "each patch is twice as wide as the one before, as with --glimpse_scale 2 at the source"


def _whole_square(size: int, **normalisation: Any) -> Callable[[AttentionNet], Dict[str, Any]]:
    """Images whose short side is resized to the size of the net, instead of a crop inside."""
    return lambda net: {"view": {"size": size, "short": size}, **normalisation}


_BATCHES = r"(.*\.)?num_batches_tracked"
_RACNN_UNUSED = _BATCHES + r"|b[123]\.(features\.18|classifier|last_linear|linear\d)\..*"
FORMATS = (
    CheckpointFormat(
        "PyTorch's ResidualAttentionModel",
        ("conv1.1.weight", "attention_module1.last_blocks.conv1.weight", "fc.weight"),
        ResidualAttention,
        residual_attention.fused_options,
        residual_attention.tengshaofeng,
        lambda net: PIXELS,
        unused=rf"{_BATCHES}|.*\.conv4\.weight",
        unspecified=("mask_fusion",),
    ),
    CheckpointFormat(
        "PistonY's ResidualAttentionModel",
        ("conv1.1.gamma", "attention_module1.last_blocks.conv1.weight", "fc.weight"),
        ResidualAttention,
        residual_attention.fused_options,
        residual_attention.pistony,
        lambda net: IMAGENET,
    ),
    CheckpointFormat(
        "GluonCV",
        ("attention_module1.0.last_blocks.conv1.weight", "fc.weight"),
        ResidualAttention,
        residual_attention.fused_options,
        residual_attention.gluoncv,
        gluoncv_data,
    ),
    CheckpointFormat(
        "haoxintong's AttentionNet",
        (r"features\.\d\.mask_branch\.output\.0\.gamma", "output.weight"),
        ResidualAttention,
        residual_attention.plain_options,
        residual_attention.haoxintong,
        lambda net: IMAGENET,
    ),
    CheckpointFormat(
        "PyTorch's RecurrentAttention",
        ("sensor.fc1.weight", "rnn.i2h.weight", "locator.fc.weight", "classifier.fc.weight"),
        RecurrentAttention,
        ram.options,
        ram.convert,
        _ram_data,
        unused=_BATCHES,
        assumed=dict(std=0.05),
        unspecified=("patch", "scales", "glimpses", "start"),
        note=_ram_note,
    ),
    CheckpointFormat(
        "klrc's RACNN",
        ("classifier1.weight", "classifier3.weight", "apn2.2.weight", racnn.MOBILENET),
        RACNN,
        racnn.klrc_options,
        racnn.klrc,
        _whole_square(448, mean=RACNN_MEAN[::-1], std=RACNN_STD),
        unused=_RACNN_UNUSED,
        bgr=True,
    ),
    CheckpointFormat(
        "jeong-tae's RACNN",
        ("classifier1.weight", "classifier3.weight", "apn2.2.weight"),
        RACNN,
        racnn.jeong_tae_options,
        racnn.jeong_tae,
        _whole_square(448, mean=RACNN_MEAN, std=RACNN_STD),
        unused=_RACNN_UNUSED,
        note=lambda net: "red is read first, as at the source since March 2020",
    ),
    CheckpointFormat(
        "PyTorch's Recurrent_Attention",
        ("core.weight_ih", "core.weight_hh", "location.W_v.weight", "glimpse.resnet.0.weight"),
        GlimpseNet,
        glimpse.options,
        glimpse.convert,
        _whole_square(384, **IMAGENET),
        unused=_BATCHES + r"|context\.resnet\..*|location\.W_.\.weight",
        unspecified=("glimpses", "start_size"),
    ),
)
