"""The data set that a verb works on: that of the flags, or that of the training."""

from __future__ import annotations

import argparse
import inspect
import os
from dataclasses import replace
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np

from .. import datasets
from ..datasets.mnist import TASKS
from ..datasets.sampling import DATASETS, Samples, Splits
from ..datasets.view import centre_view
from ..errors import UserError
from ..fields import number
from .open_model import Model, takes

Norm = Sequence[Sequence[float]]  # mean and std of pixel / 255, of each channel


class Split(NamedTuple):
    """Some images of a data set."""

    samples: Samples
    classes: Sequence[str]
    source: Dict[str, Any]  # name and options of the function that made it


def add_data(parser: argparse.ArgumentParser) -> None:
    """The flags that `load` reads."""
    names = sorted(set(DATASETS) - {"mnist"} | {f"mnist-{task}" for task in TASKS})
    group = parser.add_argument_group("images of a data set")
    group.add_argument("--dataset", choices=names, help="that of the training, if it is known")
    group.add_argument("--data-dir", help="folder of the data set; that of the run, if it is one")
    group.add_argument(
        "--seed", type=number(int, 0), metavar="N", help="seed of validation images and noise"
    )


def load(model: Model, flags: argparse.Namespace, part: str, advice: str = "") -> Split:
    """The part, `test` or `validation`, of the data set, normalised as the network wants it.

    `advice` is what else than --dataset helps where no data set is known.
    """
    source = model.source or {}
    name, options = source.get("name"), dict(source.get("options") or {})
    if flags.dataset:
        asked, _, task = flags.dataset.partition("-")
        options = options if asked == name else {}
        name = asked
        options.update({"task": task} if task else {})
    if name not in DATASETS:
        raise UserError(f"its data are of no data set known here: {advice}add --dataset")
    if flags.seed is not None:
        options["seed"] = flags.seed
    accepted = inspect.signature(DATASETS[name]).parameters
    root = flags.data_dir or model.settings.get("data_dir")
    if "size" in accepted:
        _size(model, options, getattr(flags, "size", None), pictures="root" in accepted)
    if "root" in accepted:
        if not root:
            raise UserError("add --data-dir, the folder of the data set; data/README.md has more")
        if not os.path.isdir(root):
            raise UserError(f"--data-dir {root} is no folder; data/README.md says what it holds")
        options["root"] = root
    splits = _splits(name, options, part)
    _check(model, name, splits, getattr(flags, "size", None))
    norms = ((splits.mean, splits.std), (model.view.mean, model.view.std))
    samples = renormalised(getattr(splits, part), *norms)
    return Split(samples, splits.classes, splits.source)


def renormalised(samples: Samples, made: Norm, wanted: Norm) -> Samples:
    """The same samples, made with one normalisation, with another; untouched where both agree."""
    made, wanted = np.asarray(made, np.float64), np.asarray(wanted, np.float64)  # (2, C)
    if np.array_equal(made, wanted):
        return samples
    scale = (made[1] / wanted[1]).astype(np.float32).reshape(-1, 1, 1)
    shift = ((made[0] - wanted[0]) / wanted[1]).astype(np.float32).reshape(-1, 1, 1)
    return replace(samples, load=lambda rows, rng: samples.load(rows, rng) * scale + shift)


def _size(model: Model, options: Dict[str, Any], asked: Any, pictures: bool) -> None:
    """Set the side of the inputs: as asked for, else as trained on, else as the network is used to.

    The last only for `pictures` of files: generated ones have a side of their own.
    """
    if asked:
        options["size"] = asked
        if options.get("short"):
            options["short"] = model.view.short
    elif pictures:
        options.setdefault("size", model.view.size)


def _splits(name: str, options: Dict[str, Any], part: str) -> Splits:
    """The data set; of ImageNet only val/ where there are no training pictures."""
    root = options.get("root")
    if name == "imagenet" and part == "test" and not _has_training(root):
        size = options["size"]
        samples, classes = datasets.imagenet_val(root, size=size)
        view = centre_view(size)
        return Splits(None, None, samples, classes, view.mean, view.std, view, {"name": name})
    return DATASETS[name](**options)


def _check(model: Model, name: str, splits: Splits, size: Any) -> None:
    """Refuse a data set that the network cannot be measured on."""
    other = "choose another --dataset"
    if len(splits.classes) != model.net.classes:
        raise UserError(
            f"the network tells {model.net.classes} classes apart and {name} has "
            f"{len(splits.classes)}; {other}"
        )
    channels, side = len(splits.mean), splits.view.size
    if channels != len(model.view.mean):
        kinds = {1: "grey", 3: "coloured"}
        raise UserError(
            f"the network takes {kinds[len(model.view.mean)]} images and those of {name} are "
            f"{kinds[channels]}; {other}"
        )
    if size not in (None, side):
        raise UserError(f"images of {name} have {side} pixels a side: leave out --size")
    if not takes(model.net, (channels, side, side)):
        raise UserError(
            f"the network takes no images of {side} pixels a side, as those of {name} are; {other}"
        )


def _has_training(root: str) -> bool:
    """Whether a folder like ImageNet's has training pictures too."""
    return any(os.path.exists(os.path.join(root, name)) for name in ("train", "train.rec"))
