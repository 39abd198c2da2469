"""`export`: a network as files that need no line of this package."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import Any, Dict, List

import mxnet as mx
import numpy as np

from ..errors import UserError
from ..export.fusion import fuse
from ..export.graph import as_graph, export_onnx, save
from ..storage.atomic import write_text
from ._flags import add_verb, opened
from ._pictures import pictures
from .data import add_data, load
from .open_model import Model

IMAGES = 64  # that calibrate
LARGEST = 100_000
DATA = ("dataset", "data_dir", "seed")
CALIBRATION = ("calibrate", "images", *DATA)  # flags for --int8 alone


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "export",
        "write files that MXNet alone or onnxruntime can load",
        run,
        "ram_28 -o ram --onnx",
        "runs/cifar10-cifar_residual_attention92 -o net --onnx --trace",
        "runs/cub-racnn_mobilenet_v2 -o birds --int8 --calibrate photos/",
    )
    parser.add_argument("-o", "--output", required=True, metavar="PREFIX", help="of all file names")
    parser.add_argument("--onnx", action="store_true", help="PREFIX.onnx too, for any batch size")
    parser.add_argument("--fused", action="store_true", help="PREFIX-fused too, faster on CPUs")
    parser.add_argument("--int8", action="store_true", help="PREFIX-int8 too, in 8 bits for CPUs")
    parser.add_argument("--trace", action="store_true", help="give what it attends to, not logits")
    parser.add_argument("--untrained", action="store_true", help="random weights, to try its speed")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        metavar="IMAGE",
        help="pictures for --int8; validation images of the data set without it",
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help=f"of them, at most (default: {IMAGES})"
    )
    add_data(parser)


def run(flags: argparse.Namespace) -> None:
    if os.path.isdir(flags.output) or flags.output.endswith(os.sep):
        raise UserError(f"-o {flags.output} is a folder; add the beginning of a file name to it")
    if flags.images is not None and not 1 <= flags.images <= LARGEST:
        raise UserError(f"--images must be a whole number from 1 to {LARGEST}, not {flags.images}")
    if flags.int8 and flags.trace:
        raise UserError("--int8 has logits only; leave out --trace")
    given = [flag for flag in CALIBRATION if getattr(flags, flag) is not None]
    useless = [flag for flag in given if not flags.int8 or (flags.calibrate and flag in DATA)]
    if useless:
        named = f"--{useless[0].replace('_', '-')}"
        reason = "--calibrate has its own pictures" if flags.int8 else "it is for --int8"
        raise UserError(f"{named} has no use here, as {reason}; leave it out")
    model = opened(flags, untrained=flags.untrained)
    images = calibration(model, flags) if flags.int8 else None
    model.net.trace(mx.nd.zeros((1, *model.shape), ctx=model.device))  # every shape is known then
    graph = as_graph(model.net, flags.trace)
    files = save(graph, flags.output)
    if flags.fused:
        files += save(fuse(graph), f"{flags.output}-fused")
    told: Dict[str, Any] = {"files": files}
    if flags.onnx:
        files.append(f"{flags.output}.onnx")
        about = {k: json.dumps(v) for k, v in describe(model).items()}
        parity = export_onnx(model.net, files[-1], model.shape, flags.trace, about)
        told["onnx"] = parity and parity._asdict()
    if flags.int8:
        from ..export.int8 import compare, quantize  # it brings a large part of MXNet along

        made = save(quantize(graph, images), f"{flags.output}-int8")
        files += made
        told["int8"] = dict(compare(model.net, tuple(made), images)._asdict(), images=len(images))
    files.append(f"{flags.output}.json")
    write_text(files[-1], json.dumps(describe(model), indent=1))
    show(told, flags.json)


def describe(model: Model) -> Dict[str, Any]:
    """What someone has to know to use the files; of the shape of a run's `config.json`."""
    view = dataclasses.asdict(model.view)
    data = dict(classes=model.classes, mean=model.view.mean, std=model.view.std, view=view)
    return dict(network=model.net.recipe, data=dict(data, source=model.source))


def calibration(model: Model, flags: argparse.Namespace) -> np.ndarray:
    """Images that show how large the features are, (N, C, H, W)."""
    count = flags.images or IMAGES
    if flags.calibrate:
        found: List[np.ndarray] = []
        for _, picture in pictures(flags.calibrate):
            found.append(model.view(picture))
            if len(found) == count:
                break
        return np.stack(found)
    advice = "give pictures by --calibrate, or "
    return load(model, flags, "validation", advice).samples.first(count)


def show(told: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(told))
        return
    for file in told["files"]:
        print(file)
    if "onnx" in told:
        parity = told["onnx"]
        print(
            f"onnxruntime differs by {parity['largest']:.1g} of the largest output"
            if parity
            else "not compared: onnxruntime is not installed (pip install onnxruntime)"
        )
    if "int8" in told:
        change = told["int8"]
        print(
            f"8 bits answer the same on {100 * change['same']:.1f} % of {change['images']} images"
            f" and move the logits by {100 * change['distance']:.1f} %"
        )
