"""The data set that a verb works on: that of the flags, or that of the training."""

from __future__ import annotations

import argparse
import inspect
import os
from typing import Any, Dict, NamedTuple, Sequence

from .. import datasets
from ..datasets.batches import DATASETS
from ..datasets.mnist import TASKS
from ..deploy.models import Model
from ..errors import UserError


class Split(NamedTuple):
    """Some images of a data set."""

    batches: Any
    classes: Sequence[str]
    data: Dict[str, Any]  # name and options of the function that made it


def add_data(parser: argparse.ArgumentParser) -> None:
    """The flags that `load` reads."""
    names = sorted(set(DATASETS) - {"mnist"} | {f"mnist-{task}" for task in TASKS})
    group = parser.add_argument_group("images of a data set")
    group.add_argument("--dataset", choices=names, help="that of the training, if it is known")
    group.add_argument("--data-dir", help="folder of the data set; that of the run, if it is one")
    group.add_argument("--seed", type=int, help="of validation images and whatever is drawn")


def load(model: Model, flags: argparse.Namespace, batch_size: int, part: str) -> Split:
    """The part, `test` or `validation`, of the data set."""
    source = model.source or {}
    name, options = source.get("name"), dict(source.get("options") or {})
    if flags.dataset:
        asked, _, task = flags.dataset.partition("-")
        options = options if asked == name else {}
        name = asked
        options.update({"task": task} if task else {})
    if name not in DATASETS:
        raise UserError("which data set it was trained on is not known: add --dataset")
    if flags.seed is not None:
        options["seed"] = flags.seed
    accepted = inspect.signature(DATASETS[name]).parameters
    root = flags.data_dir or model.settings.get("data_dir")
    if "root" in accepted:
        if "size" in accepted:
            options.setdefault("size", model.view.size)
        if not root:
            raise UserError("add --data-dir, the folder of the data set; data/README.md has more")
        if not os.path.isdir(root):
            raise UserError(f"--data-dir {root} is no folder; data/README.md says what it holds")
        options["root"] = root
    if name == "imagenet" and part == "test" and not _trains(root):
        return Split(*datasets.imagenet_val(root, batch_size, size=options["size"]), {"name": name})
    splits = DATASETS[name](batch_size=batch_size, **options)
    if len(splits.classes) != model.net.classes:
        raise UserError(
            f"the network tells {model.net.classes} classes apart and {name} has "
            f"{len(splits.classes)}; choose another --dataset"
        )
    return Split(getattr(splits, part), splits.classes, splits.source)


def _trains(root: str) -> bool:
    """Whether a folder like ImageNet's has training pictures too."""
    return any(os.path.exists(os.path.join(root, name)) for name in ("train", "train.rec"))
