"""`evaluate`: the error on a data set, as the training scripts measure it."""

from __future__ import annotations

import argparse
import inspect
import json
import os
from types import SimpleNamespace
from typing import Any, Dict, NamedTuple, Sequence

from .. import datasets, runtime
from ..datasets.batches import DATASETS
from ..datasets.mnist import TASKS
from ..deploy.models import Model
from ..errors import UserError
from ..training.config import Config
from ..training.evaluation import measure
from ..training.prepare import lower_precision, prepare
from .model import add_verb, opened


class Split(NamedTuple):
    """What a network is measured on."""

    batches: Any
    classes: Sequence[str]
    data: Dict[str, Any]  # name and options of the function that made it


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        "measure the error on a data set",
        run,
        "runs/cifar10-cifar_residual_attention92",
        "ram_cluttered_60 --data-dir data/mnist",
        "net.params --name cifar_residual_attention56 --dataset cifar10 --data-dir data/cifar10",
    )
    names = sorted(set(DATASETS) - {"mnist"} | {f"mnist-{task}" for task in TASKS})
    parser.add_argument("--dataset", choices=names, help="that of the training, if it is known")
    parser.add_argument("--data-dir", help="folder of the data set; that of the run, if it is one")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--batch-size", "-b", type=int, help="images a device and step")
    parser.add_argument("--samples", "-m", type=int, help="episodes averaged, if it draws them")
    parser.add_argument("--seed", type=int, help="of the validation images and drawn locations")


def run(flags: argparse.Namespace) -> None:
    for flag, low in (("batch_size", 1), ("samples", 1), ("seed", 0)):
        value = getattr(flags, flag)
        if value is not None and value < low:
            name = flag.replace("_", "-")
            raise UserError(f"--{name} must be a whole number from {low} up, not {value}")
    model, devices = opened(flags), runtime.devices(flags.num_gpus)
    config = settings(model, flags)
    if config.dtype != "float32":
        lower_precision(config.dtype, devices)
    split = load(model, flags, config, config.batch_size * len(devices))
    if len(split.classes) != model.net.classes:
        raise UserError(
            f"the network tells {model.net.classes} classes apart and the data set has "
            f"{len(split.classes)}; choose another --dataset"
        )
    prepare(model.net, SimpleNamespace(validation=split.batches), devices, sync_bn=False)
    task = model.net.objective(config)
    found = measure(model.net, task, split.batches, devices, config.seed)
    show({"model": flags.model, "split": flags.split, **found, "data": split.data}, flags.json)


def settings(model: Model, flags: argparse.Namespace) -> SimpleNamespace:
    """Those of the run, or else the usual ones, and what the flags say."""
    known = {**vars(Config()), "samples": 10, **model.settings}
    said = {k: getattr(flags, k) for k in ("batch_size", "samples", "seed")}
    return SimpleNamespace(**{**known, **{k: v for k, v in said.items() if v is not None}})


def load(
    model: Model, flags: argparse.Namespace, config: SimpleNamespace, batch_size: int
) -> Split:
    """The split that the flags name, of the data set of the training where they name none."""
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
    if "size" in accepted:
        options.setdefault("size", model.view.size)
    root = flags.data_dir or model.settings.get("data_dir")
    if "root" in accepted:
        if not root:
            raise UserError("add --data-dir, the folder of the data set; data/README.md has more")
        if not os.path.isdir(root):
            raise UserError(f"--data-dir {root} is no folder; data/README.md says what it holds")
        options["root"] = root
    if name == "imagenet" and flags.split == "test" and not _trains(root):
        return Split(*datasets.imagenet_val(root, batch_size, size=options["size"]), {"name": name})
    splits = DATASETS[name](batch_size=batch_size, **options)
    return Split(getattr(splits, flags.split), splits.classes, splits.source)


def _trains(root: str) -> bool:
    """Whether a folder like ImageNet's has training pictures too."""
    return any(os.path.exists(os.path.join(root, name)) for name in ("train", "train.rec"))


def show(found: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    data = found["data"]
    told = ", ".join(f"{k} {v}" for k, v in (data.get("options") or {}).items())
    print(f"{found['split']} error {found['test_error']:.2f} % on {found['test_images']} images")
    print(f"of {data['name']}" + (f" ({told})" if told else ""))
    for name, value in found["test"].items():
        print(f"  {name:24}{value:.6g}")
