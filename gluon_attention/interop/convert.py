"""A checkpoint of another origin, as a file of this package with all that is needed to use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mxnet import nd

from ..datasets.view import IMAGENET_MEAN, IMAGENET_STD
from ..errors import UserError
from ..storage.atomic import write_text
from ..storage.params import write_parameters
from ..zoo.attention_net import AttentionNet
from ..zoo.registry import Entry, entry, get_model, options_of
from .checkpoints import layout_of
from .load import Filled, fill, is_gluoncv_attention, read
from .tensor_table import fitting
from .tensors import Tensor

INTERPRETER = "GLUON_ATTENTION_TORCH"  # names a Python that has PyTorch, if this one has none

Norm = Tuple[Sequence[float], Sequence[float]]  # mean and std of pixel / 255, of each channel


class Converted(NamedTuple):
    """What `convert` made."""

    net: AttentionNet
    call: Dict[str, Any]  # arguments of get_model
    filled: Filled


def convert(
    source: str,
    name: str,
    target: str,
    classes: Optional[int] = None,
    options: Optional[Dict[str, Any]] = None,
) -> Converted:
    """Write the weights in `source` to `target`, and beside it what network they are of.

    Args:
        source: a file that `load_weights` takes.
        name: of a network; options that the kind of file asks for are added.
        target: file to write; `x.json` is written beside `x.params`.
        classes: length of the logits, if the file does not tell.
        options: of the network, better known than what the file tells.
    """
    beside = os.path.splitext(target)[0] + ".json"
    if os.path.realpath(source) in (os.path.realpath(target), os.path.realpath(beside)):
        raise UserError(f"{target} is the file that is read; choose another to write")
    if target.lower().endswith(".json"):
        raise UserError(f"{target} must not end in .json, where its network is said: use .params")
    arrays, known = read(source), entry(name)
    layout = layout_of(arrays)
    with fitting(source):
        wanted = layout.options(arrays) if layout else _gluoncv(arrays)
    foreign = set(wanted) - set(options_of(known.name)) - {"classes"}
    if layout and foreign:
        raise UserError(f"{source} is of {layout.origin}, and {known.name} is no such network")
    call = {**wanted, **(options or {})}
    count = classes or call.pop("classes", None) or known.classes
    call.pop("classes", None)
    net = get_model(known.name, count, **call)
    filled = fill(net, source)
    write_parameters(target, net.save_parameters)
    about: Dict[str, Any] = {"network": {"name": known.name, "classes": count, "options": call}}
    if layout or known.alias or filled.origin == "GluonCV":
        norm = layout.norm if layout else _gluoncv_norm(known)
        about["data"] = dict(zip(("mean", "std"), norm))
    write_text(beside, json.dumps(about, indent=2) + "\n")
    return Converted(net, {"name": known.name, "classes": count, **call}, filled)


def _gluoncv(arrays: Dict[str, Any]) -> Dict[str, Any]:
    """Options of the network whose weights these are, if they are GluonCV's."""
    if is_gluoncv_attention(arrays) and "fc.weight" in arrays:
        return {"classes": arrays["fc.weight"].shape[0], "mask_fusion": "gluoncv"}
    return {}


def _gluoncv_norm(known: Entry) -> Norm:
    """Mean and std that GluonCV trained with: its scripts for CIFAR-10 have a std of their own."""
    if known.name.startswith("cifar"):
        return (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    return IMAGENET_MEAN, IMAGENET_STD


def difference(made: Converted, source: str, module: str) -> Dict[str, float]:
    """How far the outputs of the PyTorch module that the file is of are from those of the net.

    `module` is `MODULE:CALLABLE`, called without arguments, looked for from the working directory
    and run by the Python in GLUON_ATTENTION_TORCH. It gets the tensors of the file, not the file.
    """
    python = os.environ.get(INTERPRETER, sys.executable)
    images = np.random.RandomState(0).randn(2, *entry(made.call["name"]).shape).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, "images.npy"), images)
        tensors = {n: t for n, t in read(source).items() if isinstance(t, Tensor) and t.is_real()}
        np.savez(os.path.join(folder, "weights.npz"), **{n: t.array() for n, t in tensors.items()})
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run_torch_module.py")
        ran = subprocess.run(
            [python, script, module, folder], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        if ran.returncode:
            said = ran.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise UserError(
                f"{module} could not be run by {python}: {said[-1]}; {INTERPRETER} can name "
                "another Python"
            )
        answers = np.load(os.path.join(folder, "answers.npy"))
    layout = layout_of(read(source))
    if layout and layout.bgr:
        images = images[:, ::-1]
    trace = made.net.trace(nd.array(images))
    ours = (trace.scale_logits if answers.ndim == 3 else trace.logits).asnumpy()
    if ours.shape != answers.shape:
        raise UserError(f"{module} answers {answers.shape}, and the net {ours.shape}")
    return {"difference": float(abs(ours - answers).max()), "largest": float(abs(answers).max())}
