"""The data set of a verb: that of its flags, or else that of the network's training."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Sequence, Tuple, get_type_hints

import numpy as np

from .. import datasets
from ..datasets.mnist import TASKS
from ..datasets.sampling import DATASETS, NOT_RECORDED, Samples, Splits, smaller_validation
from ..datasets.view import centre_view
from ..errors import UserError
from ..fields import bounded, number

if TYPE_CHECKING:
    from .open_model import Model

MOST = 10**6  # largest number in the options of a data set
Normalisation = Tuple[Sequence[float], Sequence[float]]  # mean and std of pixel / 255, per channel


class Split(NamedTuple):
    """One split of a data set."""

    samples: Samples
    classes: Sequence[str]
    source: Dict[str, Any]  # name and options of the data set function


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `load` reads."""
    names = sorted(set(DATASETS) - {"mnist"} | {f"mnist-{task}" for task in TASKS})
    group = parser.add_argument_group("data set")
    group.add_argument("--dataset", choices=names, help="data set (default: that of the training)")
    group.add_argument("--data-dir", help="folder of the data set (default: that of the run)")
    group.add_argument(
        "--seed", type=number(int, 0), metavar="N", help="seed of validation images and noise"
    )


def load(model: Model, flags: argparse.Namespace, split: str, advice: str = "") -> Split:
    """A split, `test` or `validation`, normalised for the network.

    Args:
        advice: alternative to --dataset, for the message about an unknown data set.
    """
    name, options = _choose(model, flags)
    if name not in DATASETS:
        raise UserError(f"the data set of this network is unknown: {advice}add --dataset")
    parameters = inspect.signature(DATASETS[name]).parameters
    options = _checked(name, options)
    if "size" in parameters:
        _set_size(model, options, flags.size, from_files="root" in parameters)
    if "root" in parameters:
        options["root"] = _folder(model, flags)
        if "download" in parameters and not flags.data_dir:  # downloads need an explicit folder
            options["download"] = False
    splits = _load_splits(name, options, split)
    _check_fits(model, name, splits, flags.size)
    if split == "validation":
        for note in smaller_validation(splits, options.get("validation", 0)):
            print(note, file=sys.stderr)
    samples = renormalise(
        getattr(splits, split), (splits.mean, splits.std), (model.view.mean, model.view.std)
    )
    return Split(samples, splits.classes, splits.source)


def renormalise(samples: Samples, old: Normalisation, new: Normalisation) -> Samples:
    """Samples with another normalisation; the same object if the two are equal."""
    (old_mean, old_std), (new_mean, new_std) = np.asarray(old), np.asarray(new)
    if np.array_equal(old, new):
        return samples
    scale = (old_std / new_std).astype(np.float32).reshape(-1, 1, 1)
    shift = ((old_mean - new_mean) / new_std).astype(np.float32).reshape(-1, 1, 1)
    return replace(samples, load=lambda rows, rng: samples.load(rows, rng) * scale + shift)


def _choose(model: Model, flags: argparse.Namespace) -> Tuple[Optional[str], Dict[str, Any]]:
    """Name and options of the data set; those of the training apply to its own data set only."""
    source = model.source or {}
    name, options = source.get("name"), dict(source.get("options") or {})
    if flags.dataset:
        dataset, _, task = flags.dataset.partition("-")
        options = options if dataset == name else {}
        name = dataset
        if task:
            options["task"] = task
    if flags.seed is not None:
        options["seed"] = flags.seed
    return name, options


def _checked(name: str, options: Dict[str, Any]) -> Dict[str, Any]:
    """The options of a data set in a description; unknown names and wrong values are refused."""
    types = get_type_hints(DATASETS[name])
    values: Dict[str, Any] = {}
    for option, value in options.items():
        if option not in types or option in (*NOT_RECORDED, "return"):
            raise UserError(f"the data set {name} has no option {option[:60]!a}: add --dataset")
        try:
            values[option] = bounded(option, types[option], 0, MOST).check(value)
        except UserError as error:
            raise UserError(f"in the options of the data set {name}, {error}") from None
    return values


def _folder(model: Model, flags: argparse.Namespace) -> str:
    """The folder of the data set."""
    folder = flags.data_dir or model.settings.get("data_dir")
    if not folder:
        raise UserError("add --data-dir, the folder of the data set")
    if not os.path.isdir(folder):
        if not flags.data_dir:
            raise UserError(f"the training used {folder}, which is no folder here: add --data-dir")
        raise UserError(f"--data-dir {folder} is no folder")
    return folder


def _set_size(model: Model, options: Dict[str, Any], size: Optional[int], from_files: bool) -> None:
    """Set the side of the inputs to `size`, to that of the training, or to the network's default.

    The default applies to pictures from files only, as generated images have their own size.
    """
    if size:
        options["size"] = size
        if options.get("short"):
            options["short"] = model.view.short
    elif from_files:
        options.setdefault("size", model.view.size)


def _load_splits(name: str, options: Dict[str, Any], split: str) -> Splits:
    """All splits; of ImageNet without training pictures only the test split."""
    root = options.get("root")
    training = (os.path.join(root or "", part) for part in ("train", "train.rec"))
    if name == "imagenet" and split == "test" and not any(map(os.path.exists, training)):
        size = options["size"]
        samples, classes = datasets.imagenet_val(root, size=size)
        view = centre_view(size)
        return Splits(None, None, samples, classes, view.mean, view.std, view, {"name": name})
    return DATASETS[name](**options)


def _check_fits(model: Model, name: str, splits: Splits, size: Optional[int]) -> None:
    """Refuse a data set whose classes or images do not fit the network."""
    from .open_model import accepts

    other = "choose another --dataset"
    if len(splits.classes) != model.net.classes:
        raise UserError(
            f"the network has {model.net.classes} classes and {name} has {len(splits.classes)}; "
            f"{other}"
        )
    channels, side = len(splits.mean), splits.view.size
    if channels != len(model.view.mean):
        kinds = {1: "grey", 3: "coloured"}
        raise UserError(
            f"the network needs {kinds[len(model.view.mean)]} images and those of {name} are "
            f"{kinds[channels]}; {other}"
        )
    if size not in (None, side):
        raise UserError(f"images of {name} have {side} pixels a side: leave out --size")
    if not accepts(model.net, (channels, side, side)):
        raise UserError(
            f"the network does not accept the images of {name}, {side} pixels a side; {other}"
        )
