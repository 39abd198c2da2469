"""Networks for PyTorch: a state dict, and a module that loads it without MXNet."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import UserError
from ..interop.torch_process import torch_outputs
from ..storage.atomic import write_text
from ..storage.safetensors_file import require_safetensors, write_safetensors
from ..zoo.attention_net import AttentionNet
from ..zoo.glimpse.network import GlimpseNet
from ..zoo.racnn.network import RACNN
from ..zoo.ram.network import RecurrentAttention
from ..zoo.residual_attention.network import ResidualAttention
from .graph import Parity, noise_images, parity
from .torch_layers import describe_layer

MODULES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_modules")
IMPORT = "from torch_backbone import Backbone\n"
RENAMED = {"gamma": "weight", "beta": "bias"}  # of BatchNorm


class TorchModule(NamedTuple):
    """The module of a family, and the arguments of its class."""

    file: str
    arguments: Dict[str, Any]


def torch_module(net: AttentionNet) -> TorchModule:
    """The module of a net; a family without one is refused."""
    for family, file, arguments in _FAMILIES:
        if isinstance(net, family):
            return TorchModule(file, dict(arguments(net), classes=net.classes))
    raise UserError(
        f"--torch is for the networks of the four papers, and this is {type(net).__name__}; "
        "use --onnx"
    )


def _residual_attention(net: ResidualAttention) -> Dict[str, Any]:
    architecture, depths = net.architecture, net.depths
    return dict(
        stem=architecture.stem,
        small=architecture.shape[1] < 64,
        stages=[
            [stage.channels, stage.stride, stage.units, stage.depth or 0, count]
            for stage, count in zip(architecture.stages, (*depths.modules, 0))
        ],
        sizes=depths[1:],
        **dataclasses.asdict(net.options),
    )


def _ram(net: RecurrentAttention) -> Dict[str, Any]:
    of_training = ("std", "start")
    return {k: v for k, v in dataclasses.asdict(net.options).items() if k not in of_training}


def _racnn(net: RACNN) -> Dict[str, Any]:
    options, backbone = net.options, net.body.backbones[0]
    if options.boxes == "pixels":
        raise UserError("--torch does not support boxes='pixels'; use --onnx")
    fully_connected = options.locate == "apn" and options.apn != "light"
    dense = [apn.layers[-2] for apn in net.body.apns if fully_connected]
    alike = ("crops", "shrink", "locate", "shared", "apn", "descriptor")
    return dict(
        {name: getattr(options, name) for name in alike},
        layers=describe_layer(backbone.layers),
        channels=backbone.channels,
        earlier=backbone.earlier,
        bounds=options.bounds(),
        flat=[layer.weight.shape[1] for layer in dense],
    )


def _glimpse(net: GlimpseNet) -> Dict[str, Any]:
    encoder, controller = net.encoder, net.controller
    return dict(
        {name: getattr(encoder, name) for name in ("patch", "size", "sides", "channels")},
        layers=describe_layer(encoder.backbone.layers),
        **{name: getattr(controller, name) for name in ("glimpses", "regions", "reach")},
        **{name: getattr(controller, name) for name in ("policy", "mirrored")},
        hidden=controller.core.width,
        attention=controller.attention,
    )


_FAMILIES = (
    (ResidualAttention, "torch_residual_attention.py", _residual_attention),
    (RecurrentAttention, "torch_ram.py", _ram),
    (RACNN, "torch_racnn.py", _racnn),
    (GlimpseNet, "torch_glimpse.py", _glimpse),
)


def state_dict(net: AttentionNet) -> Dict[str, np.ndarray]:
    """Parameters by their names in the module; `interop.load` reads them back."""
    state: Dict[str, np.ndarray] = {}
    for name, parameter in net._collect_params_with_prefix().items():
        stem, _, last = name[len("body.") :].rpartition(".")
        value = parameter.data(parameter.list_ctx()[0]).asnumpy()
        state[f"{stem}.{RENAMED.get(last, last)}"] = value.astype("float32")
        if last == "running_mean":
            state[f"{stem}.num_batches_tracked"] = np.zeros((), "int64")
    return state


def export_torch(
    net: AttentionNet, prefix: str, shape: Tuple[int, int, int], about: Dict[str, str]
) -> Tuple[List[str], Optional[Parity]]:
    """Write `prefix-torch.safetensors`, and beside it the module of its family.

    Args:
        shape: of one image.
        about: metadata of the file, such as the names of the classes.

    Returns:
        The files, and the distance of PyTorch's outputs from the net's; None where PyTorch is not
        installed. Nothing is written if the distance is too large.
    """
    require_safetensors()
    module, state = torch_module(net), state_dict(net)
    metadata = {"format": "pt", "torch": json.dumps(module.arguments), **about}
    source, images = module_source(module.file), noise_images(shape)
    with tempfile.TemporaryDirectory() as folder:
        weights = os.path.join(folder, "net.safetensors")
        write_safetensors(weights, state, metadata)
        write_text(os.path.join(folder, module.file), source)
        load = module.file[: -len(".py")] + ":load"
        outputs = torch_outputs(load, images, folder, weights)
    difference = None if outputs is None else parity(net, images, [outputs])
    if difference is not None and not difference.holds:
        raise UserError(
            f"PyTorch differs by {difference.largest:.2g} of the largest output, so nothing was "
            "written; please report this with the network's name and options"
        )
    files = [f"{prefix}-torch.safetensors", os.path.join(os.path.dirname(prefix), module.file)]
    write_safetensors(files[0], state, metadata)
    write_text(files[1], source)
    return files, difference


def module_source(name: str) -> str:
    """The text of a module, with that of the backbones in place of their import."""
    with open(os.path.join(MODULES, name), encoding="utf-8") as file:
        source = file.read()
    if IMPORT not in source:
        return source
    classes = module_source("torch_backbone.py").split("\n\n\n", 1)[1]
    return source.replace(IMPORT, f"\n\n{classes.rstrip()}\n")
