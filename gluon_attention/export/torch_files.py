"""Networks for PyTorch: a state dict, and the module that loads it, without MXNet."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import UserError
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
MISSING = 3  # exit status of the comparison where PyTorch or safetensors is not installed
COMPARE = f"""
import sys
folder, module = sys.argv[1:]
try:
    import numpy, safetensors, torch
except ImportError:
    sys.exit({MISSING})
sys.path.insert(0, folder)
net = __import__(module).load(folder + "/net.safetensors")
with torch.no_grad():
    outputs = net(torch.from_numpy(numpy.load(folder + "/images.npy")))
numpy.save(folder + "/outputs.npy", outputs.numpy())
"""
RENAMED = {"gamma": "weight", "beta": "bias"}  # of BatchNorm


class TorchModule(NamedTuple):
    """The module of a family, and the arguments of its class."""

    file: str
    arguments: Dict[str, Any]


def torch_module(net: AttentionNet) -> TorchModule:
    """The module that computes what a net does; a family without one is refused."""
    for family, file, arguments in _FAMILIES:
        if isinstance(net, family):
            return TorchModule(file, dict(arguments(net), classes=net.classes))
    raise UserError(
        f"--torch is for the networks of the four papers, and this is {type(net).__name__}; "
        "--onnx is for all"
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
        raise UserError("--torch lacks boxes='pixels', which came from PyTorch; --onnx has it")
    fully_connected = options.locate == "apn" and options.apn != "light"
    dense = [apn.layers[-2] for apn in net.body.apns if fully_connected]
    alike = ("crops", "shrink", "locate", "shared", "apn", "descriptor")
    return dict(
        {name: getattr(options, name) for name in alike},
        layers=describe_layer(backbone.layers),
        channels=backbone.channels,
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
    net: AttentionNet, prefix: str, shape: Tuple[int, int, int], about: Dict[str, str], python: str
) -> Tuple[List[str], Optional[Parity]]:
    """Write `prefix-torch.safetensors`, and beside it the module of its family.

    Args:
        shape: of one image.
        about: facts kept in the file, such as the names of the classes.
        python: runs PyTorch for the comparison, if it has it.

    Returns:
        The files, and how far PyTorch is from the net; None where it is not installed. Nothing is
        written if it is too far.
    """
    require_safetensors()
    module, state = torch_module(net), state_dict(net)
    metadata = {"format": "pt", "torch": json.dumps(module.arguments), **about}
    source = module_source(module.file)
    with tempfile.TemporaryDirectory() as folder:
        write_safetensors(os.path.join(folder, "net.safetensors"), state, metadata)
        write_text(os.path.join(folder, module.file), source)
        difference = _compare(net, shape, folder, module.file[: -len(".py")], python)
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


def _compare(
    net: AttentionNet, shape: Tuple[int, int, int], folder: str, module: str, python: str
) -> Optional[Parity]:
    images = noise_images(shape)
    np.save(os.path.join(folder, "images.npy"), images)
    command = [python, "-c", COMPARE, folder, module]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as error:
        raise UserError(f"cannot run {python}: {error.strerror}") from None
    if done.returncode == MISSING:
        return None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(f"{python} could not run the module: {lines[-1]}")
    return parity(net, images, [np.load(os.path.join(folder, "outputs.npy"))])
