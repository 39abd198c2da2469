"""`evaluate`: the error on a data set, as the training scripts measure it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any, Dict

from .. import fields
from ..command_line import printable
from ..datasets.sampling import Batches
from ..errors import UserError
from ..training.config import Config, setting
from ..training.devices import choose_devices, prepare, set_precision
from ..training.evaluation import measure
from ._data import add_data, load
from ._flags import (
    MOST_SAMPLES,
    add_batch_size,
    add_network,
    add_samples,
    add_verb,
    model_of,
    require_sampling,
)
from .open_model import Model

ADVICE = "run the script that trained it with --evaluate, or "


@dataclass(frozen=True)
class ScoreConfig(Config):
    """Settings of a measurement; of those of `Config` only seed, batch size and type matter."""

    samples: int = setting(10, "episodes averaged", low=1, high=MOST_SAMPLES)


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        "error of a network on a data set",
        run,
        "runs/cifar10-cifar_residual_attention92",
        "ram_cluttered_60 --data-dir data/mnist",
        "net.params --model cifar_residual_attention56 --dataset cifar10 --data-dir data/cifar10",
    )
    add_network(parser)
    add_data(parser)
    parser.add_argument(
        "--split",
        choices=("test", "validation"),
        default="test",
        help="split that is measured (default: test)",
    )
    add_samples(parser, f"as in the run, or {ScoreConfig.samples}")
    default = f"as in the run, or {ScoreConfig.batch_size}"
    add_batch_size(parser, None, "images a device and step", default)


def run(flags: argparse.Namespace) -> None:
    model, devices = model_of(flags), choose_devices(flags.num_gpus)
    if flags.samples is not None:
        require_sampling(model.net)
    config = score_config(model, flags)
    set_precision(config.dtype, devices)
    split = load(model, flags, flags.split, ADVICE)
    if not len(split.samples):
        raise UserError(f"the run held out no {flags.split} images: leave out --split")
    batches = Batches(split.samples, config.batch_size * len(devices))
    prepare(model.net, split.samples.first(1), devices, sync_bn=False)
    task = model.net.objective(config)
    if flags.samples is not None and task.samples is None:
        raise UserError("this network is scored without sampling: leave out --samples")
    scores = measure(model.net, task, batches, devices, config.seed)
    show({"model": flags.model, "split": flags.split, **scores, "data": split.source}, flags.json)


def score_config(model: Model, flags: argparse.Namespace) -> ScoreConfig:
    """The settings of the run that the flags do not override; defaults where there is no run."""
    values = {}
    for name in ("batch_size", "samples", "seed", "dtype"):
        value = getattr(flags, name, None)
        value = model.settings.get(name) if value is None else value
        if value is not None:
            values[name] = value
    return fields.replace(ScoreConfig(), values)


def show(report: Dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    data = report["data"]
    options = ", ".join(f"{k} {v}" for k, v in (data.get("options") or {}).items())
    print(f"{report['split']} error {report['test_error']:.2f} % on {report['test_images']} images")
    print(printable(f"of {data['name']}" + (f" ({options})" if options else "")))
    for name, value in report["test"].items():
        print(f"  {name:24}{value:.6g}")
