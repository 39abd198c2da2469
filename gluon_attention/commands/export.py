"""`export`: a network as files that do not need this package."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from .. import numpy_names
from ..command_line import printable
from ..errors import UserError
from ..fields import number
from ..installation import INTERPRETER, pip_install
from ..storage.atomic import write_text
from ..storage.safetensors_file import require_safetensors
from ._data import add_data, load
from ._flags import add_network, add_verb, model_of
from ._pictures import picture_paths, read_picture

if TYPE_CHECKING:
    from .open_model import Model

IMAGES = 64  # for calibration
DATA_FLAGS = ("dataset", "data_dir", "seed")
INT8_FLAGS = ("calibrate", "images", *DATA_FLAGS)


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        "files that MXNet alone, onnxruntime or PyTorch can load",
        run,
        "ram_28 -o ram --onnx",
        "runs/cifar10-cifar_residual_attention92 -o net --onnx --trace",
        "runs/cub-racnn_mobilenet_v2 -o birds --int8 --calibrate photos/",
        "cifar_residual_attention56_slim -o net --torch",
    )
    add_network(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="PREFIX", help="prefix of all files written"
    )
    for flag, help in (
        ("--onnx", "also PREFIX.onnx, for batches of any size"),
        ("--torch", "also PREFIX-torch.safetensors, and the PyTorch module that loads it"),
        ("--fused", "also PREFIX-fused, with fused layers, faster on CPUs"),
        ("--int8", "also PREFIX-int8, computed in 8 bits, for CPUs"),
        ("--trace", "the whole trace as outputs, not logits alone"),
        ("--untrained", "random weights, to measure the speed of a network"),
    ):
        parser.add_argument(flag, action="store_true", help=help)
    group = parser.add_argument_group("calibration of --int8")
    group.add_argument(
        "--calibrate",
        nargs="+",
        metavar="IMAGE",
        help="pictures for calibration (default: validation images of the data set)",
    )
    group.add_argument(
        "--images",
        type=number(int, 1, 100_000),
        metavar="N",
        help=f"largest number of images for calibration (default: {IMAGES})",
    )
    add_data(parser)


def run(flags: argparse.Namespace) -> None:
    import mxnet as mx

    from ..export.fusion import fuse
    from ..export.graph import as_graph, export_onnx, save
    from ..export.torch_files import export_torch, torch_module

    check(flags)
    model = model_of(flags, untrained=flags.untrained)
    if flags.torch:
        torch_module(model.net)  # refuses a family without a module
    images = calibration(model, flags) if flags.int8 else None
    model.net.trace(mx.nd.zeros((1, *model.shape), ctx=model.device))  # infers all shapes
    graphs = {"": as_graph(model.net, flags.trace)}
    if flags.fused:
        graphs["-fused"] = fuse(graphs[""])
    if flags.int8:
        from ..export.int8 import compare, quantize  # imports a large part of MXNet

        graphs["-int8"] = quantize(graphs[""], images)
    report: Dict[str, Any] = {}
    about = {key: json.dumps(value) for key, value in describe(model).items()}
    if flags.onnx:  # first, as it is not written if it differs too much
        parity = export_onnx(model.net, f"{flags.output}.onnx", model.shape, flags.trace, about)
        report["onnx"] = parity and parity._asdict()
    torch_files: List[str] = []
    if flags.torch:
        torch_files, parity = export_torch(model.net, flags.output, model.shape, about)
        report["torch"] = parity and parity._asdict()
    graph_files = {suffix: save(graph, flags.output + suffix) for suffix, graph in graphs.items()}
    if flags.int8:
        change = compare(model.net, tuple(graph_files["-int8"]), images)
        report["int8"] = dict(change._asdict(), images=len(images))
    write_text(f"{flags.output}.json", json.dumps(describe(model), indent=1))
    files = [
        *itertools.chain(*graph_files.values()),
        f"{flags.output}.json",
        copy_names(flags.output),
    ]
    if flags.onnx:
        files.append(f"{flags.output}.onnx")
    show({"files": [*files, *torch_files], **report}, flags.json)


def copy_names(output: str) -> str:
    """Copy the module that MXNet needs with a newer numpy; return its path."""
    path = os.path.join(os.path.dirname(output), os.path.basename(numpy_names.__file__))
    with open(numpy_names.__file__, encoding="utf-8") as file:
        write_text(path, file.read())
    return path


def check(flags: argparse.Namespace) -> None:
    """Refuse flags that exclude each other and missing packages, before anything is written."""
    from ..export.fusion import require_onednn
    from ..export.graph import require_onnx

    if os.path.isdir(flags.output) or not os.path.basename(flags.output):
        raise UserError(f"-o '{flags.output}' is a folder; add the beginning of a file name to it")
    for name in ("int8", "torch"):
        if getattr(flags, name) and flags.trace:
            raise UserError(f"--{name} has logits only; leave out --trace")
    _check_calibration(flags)
    if flags.onnx:
        require_onnx()
    if flags.torch:
        require_safetensors()
    for name in ("fused", "int8"):
        if getattr(flags, name):
            require_onednn(f"--{name}")


def _check_calibration(flags: argparse.Namespace) -> None:
    for name in INT8_FLAGS:
        flag = f"--{name.replace('_', '-')}"
        if getattr(flags, name) is None:
            continue
        if not flags.int8:
            raise UserError(f"{flag} is for --int8 only; leave it out")
        if flags.calibrate and name in DATA_FLAGS:
            raise UserError(
                f"{flag} does not go with --calibrate, which has its own pictures; leave it out"
            )


def describe(model: Model) -> Dict[str, Any]:
    """Facts for users of the files, in the form of a run's `config.json`."""
    view = dataclasses.asdict(model.view)
    data = dict(classes=model.classes, mean=model.view.mean, std=model.view.std, view=view)
    return dict(network=model.net.arguments, data=dict(data, source=model.source))


def calibration(model: Model, flags: argparse.Namespace) -> np.ndarray:
    """Images (N, C, H, W) that the ranges of features are measured on."""
    count = flags.images or IMAGES
    if flags.calibrate:
        paths = itertools.islice(picture_paths(flags.calibrate), count)
        return np.stack([model.view(read_picture(path)) for path in paths])
    advice = "give pictures by --calibrate, or "
    return load(model, flags, "validation", advice).samples.first(count)


def show(report: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    for file in report["files"]:
        print(printable(file))
    for key, name, reason in (
        ("onnx", "onnxruntime", f"onnxruntime is not installed ({pip_install('onnx')})"),
        ("torch", "PyTorch", f"no PyTorch here; {INTERPRETER} can name a Python that has it"),
    ):
        if key in report and report[key]:
            print(f"{name} differs by {report[key]['largest']:.1g} of the largest output")
        elif key in report:
            print(f"not compared: {reason}")
    if "int8" in report:
        change = report["int8"]
        print(
            f"8 bits predict the same class for {100 * change['same']:.1f} % of {change['images']} "
            f"images and change the logits by {100 * change['distance']:.1f} %"
        )
