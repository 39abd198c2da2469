"""`evaluate`: the error on a data set, measured as in training."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Sequence

import numpy as np

from .. import fields
from ..command_line import printable
from ..datasets.sampling import Batches
from ..errors import UserError
from ..training.config import Config, setting
from ._data import add_data, load
from ._flags import (
    LARGEST_BATCH,
    MOST_SAMPLES,
    add_batch_size,
    add_native,
    add_network,
    add_samples,
    add_verb,
    model_of,
    require_sampling,
)

if TYPE_CHECKING:
    from mxnet import nd

    from .open_model import Model

MOST_COLUMNS = 20  # of a printed confusion matrix; with more classes, lines of the worst
NAME = 24  # width of a class's number and name
ADVICE = "run the script that trained it with --evaluate, or "


@dataclass(frozen=True)
class ScoreConfig(Config):
    """Settings of an evaluation; of `Config` it uses seed, batch size and type only."""

    batch_size: int = Config.redefine("batch_size", 64, high=LARGEST_BATCH)
    samples: int = setting(10, "episodes averaged", low=1, high=MOST_SAMPLES)


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "evaluate",
        "error of a network on a data set, and which classes it confuses",
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
        help="split of the data set (default: test)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="second error, with each image averaged with its mirror image",
    )
    add_samples(parser, f"as in the run, or {ScoreConfig.samples}")
    default = f"as in the run, or {ScoreConfig.batch_size}"
    add_batch_size(parser, None, "images per device and step", default)
    add_native(parser)


def run(flags: argparse.Namespace) -> None:
    from ..training import evaluation
    from ..training.accelerate import prediction
    from ..training.devices import choose_devices, prepare, set_precision

    model, devices = model_of(flags), choose_devices(flags.num_gpus)
    if flags.samples is not None:
        require_sampling(model.net)
    if flags.tta and model.net.samples is not None:
        raise UserError("--tta is for networks that sample no glimpses: leave it out")
    config = score_config(model, flags)
    set_precision(config.dtype, devices)
    split = load(model, flags, flags.split, ADVICE)
    if not len(split.samples):
        raise UserError(f"the run held out no {flags.split} images: leave out --split")
    batches = Batches(split.samples, config.batch_size * len(devices))
    prepare(model.net, split.samples.first(1), devices, sync_bn=False)
    task = model.net.objective(config)
    if flags.samples is not None and task.samples is None:
        raise UserError("the scores of this network use no sampling: leave out --samples")
    predicted: List[nd.NDArray] = []
    with prediction(model.net, flags.native, devices, config.dtype):
        scores = evaluation.measure(
            model.net, task, batches, devices, config.seed, predicted=predicted
        )
        report = {"model": flags.model, "split": flags.split, **scores, "data": split.source}
        if flags.tta:
            error = evaluation.mirrored_error(model.net, batches, devices)
            report["tta"] = {"views": 2, "test_error": error}
    counts = evaluation.class_counts(split.samples.labels, predicted, len(split.classes))
    if flags.json:
        accuracies = evaluation.class_accuracies(counts).tolist()
        shares = (None if np.isnan(share) else share for share in accuracies)
        rows = zip(split.classes, counts.sum(axis=1).tolist(), shares)
        report["classes"] = [dict(zip(("class", "images", "accuracy"), row)) for row in rows]
        report["confusion"] = counts.tolist()
        print(json.dumps(report))
    else:
        show(report)
        show_classes(counts, split.classes)


def score_config(model: Model, flags: argparse.Namespace) -> ScoreConfig:
    """Settings from the flags, else from the run, else the defaults."""
    values = {}
    for name in ("batch_size", "samples", "seed", "dtype"):
        value = getattr(flags, name, None)
        value = model.settings.get(name) if value is None else value
        if value is not None:
            values[name] = value
    return fields.replace(ScoreConfig(), values)


def show(report: Dict[str, Any]) -> None:
    data = report["data"]
    options = ", ".join(f"{k} {v}" for k, v in (data.get("options") or {}).items())
    print(f"{report['split']} error {report['test_error']:.2f} % on {report['test_images']} images")
    print(printable(f"of {data['name']}" + (f" ({options})" if options else "")))
    for name, value in report["test"].items():
        print(f"  {name:24}{value:.6g}")
    if "tta" in report:
        error = report["tta"]["test_error"]
        print(f"averaged with the mirror image (--tta): error {error:.2f} %")


def show_classes(counts: np.ndarray, names: Sequence[str]) -> None:
    """Print accuracies and confusion matrix; for many classes, the worst classes and mistakes."""
    from ..training.evaluation import class_accuracies, frequent_mistakes, worst_classes

    accuracies, labels = class_accuracies(counts), range(len(names))
    headings = [f"{label} {printable(str(names[label]))}"[: NAME - 1] for label in labels]
    if len(names) <= MOST_COLUMNS:
        width = max(len(str(counts.max())), len(str(len(names) - 1))) + 2
        heading = "".join(f"{label:{width}}" for label in labels)
        print(f"\n{'':{NAME + 12}}images predicted as")
        print(f"{'label':{NAME}}{'right, %':>10}  {heading}")
        for label, row in enumerate(counts):
            cells = "".join(f"{count or '.':>{width}}" for count in row)
            print(f"{headings[label]:{NAME}}{100 * accuracies[label]:10.1f}  {cells}")
        return
    print(f"\n{'labels most often wrong':{NAME}}{'right, %':>10}  {'images':>8}")
    for label in worst_classes(counts)[:MOST_COLUMNS]:
        total = counts[label].sum()
        print(f"{headings[label]:{NAME}}{100 * accuracies[label]:10.1f}  {total:8}")
    print(f"\n{'label':{NAME}}{'predicted as':{NAME}}{'images':>8}")
    for label, predicted, total in frequent_mistakes(counts, MOST_COLUMNS):
        print(f"{headings[label]:{NAME}}{headings[predicted]:{NAME}}{total:8}")
