"""`evaluate`: the error on a data set, as the training scripts measure it."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from typing import Any, Dict

from ..datasets.sampling import Batches
from ..errors import UserError
from ..training.config import Config
from ..training.devices import choose_devices, lower_precision, prepare
from ..training.evaluation import measure
from ._flags import SAMPLES, add_verb, check_draws, opened
from .data import add_data, load
from .open_model import Model

EPISODES = 10  # averaged, unless a run or a flag says otherwise
ADVICE = "run the script that trained it with --evaluate, or "
LIMITS = (("batch_size", 1, 10**6), ("samples", 1, SAMPLES))


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        "measure the error on a data set",
        run,
        "runs/cifar10-cifar_residual_attention92",
        "ram_cluttered_60 --data-dir data/mnist",
        "net.params --model cifar_residual_attention56 --dataset cifar10 --data-dir data/cifar10",
    )
    add_data(parser)
    parser.add_argument(
        "--split", choices=("test", "validation"), default="test", help="images (default: test)"
    )
    for short, name, number, help in (
        ("-b", "--batch-size", Config.batch_size, "images a device and step"),
        ("-m", "--samples", EPISODES, "episodes averaged, if it draws them"),
    ):
        told = f"{help} (default: those of the run, or {number})"
        parser.add_argument(name, short, type=int, metavar="N", help=told)


def run(flags: argparse.Namespace) -> None:
    for flag, low, high in LIMITS:
        value = getattr(flags, flag)
        if value is not None and not low <= value <= high:
            name = flag.replace("_", "-")
            raise UserError(f"--{name} must be a whole number from {low} to {high}, not {value}")
    model, devices = opened(flags), choose_devices(flags.num_gpus)
    if flags.samples is not None:
        check_draws(model.net)
    config = settings(model, flags)
    if config.dtype != "float32":
        lower_precision(config.dtype, devices)
    split = load(model, flags, flags.split, ADVICE)
    batches = Batches(split.samples, config.batch_size * len(devices))
    prepare(model.net, split.samples.first(1), devices, sync_bn=False)
    task = model.net.objective(config)
    if flags.samples is not None and not hasattr(task, "samples"):
        raise UserError("this network is measured by what it does without drawing: drop --samples")
    found = measure(model.net, task, batches, devices, config.seed)
    show({"model": flags.model, "split": flags.split, **found, "data": split.source}, flags.json)


def settings(model: Model, flags: argparse.Namespace) -> SimpleNamespace:
    """Those of the run, or else the usual ones, and what the flags say."""
    known = {**vars(Config()), "samples": EPISODES, **model.settings}
    said = {k: getattr(flags, k) for k in ("batch_size", "samples", "seed")}
    return SimpleNamespace(**{**known, **{k: v for k, v in said.items() if v is not None}})


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
