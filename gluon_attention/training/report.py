"""`report.html` of a run: settings, curves, confusions of classes, and the worst mistakes."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

import numpy as np
from mxnet import nd

from ..datasets.sampling import Splits
from ..explain.page import Entry, Page
from ..explain.pictures import denormalise
from .evaluation import class_accuracies, class_counts, frequent_mistakes, worst_classes

if TYPE_CHECKING:
    from .run_folder import Record

MISTAKES = 12  # number of mistakes that are shown
JUDGED = 128  # largest number of mistakes that the worst are chosen from
BATCH = 16
MOST_CLASSES = 30  # of a whole confusion matrix
MOST_ROWS = 20  # of the tables in place of a larger one


def write_report(
    path: str,
    net: Any,
    splits: Splits,
    settings: Dict[str, Any],
    result: Dict[str, Any],
    history: Sequence[Record],
    predicted: Sequence[nd.NDArray],
) -> None:
    """Write the report of a run.

    Args:
        predicted: predicted classes of the test images in order; empty if the task has none.
    """
    name = getattr(net, "arguments", {}).get("name", type(net).__name__)
    page = Page(f"{name}: test error {result['test_error']:.2f} %", splits.classes)
    report = {
        "figures": figures(result),
        "curves": curves(history),
        "settings": [[name, str(value)] for name, value in settings.items()],
        "confusion": None,
    }
    if predicted:
        labels = splits.test.labels
        report["confusion"] = confusion(class_counts(labels, predicted, len(splits.classes)))
        report["confusion"]["classes"] = [str(each) for each in splits.classes]
        wrong = np.flatnonzero(np.concatenate([p.asnumpy() for p in predicted]) != labels)
        if getattr(net, "look", None) is not None and len(wrong):
            rows, images = worst(net, splits, wrong)
            entries = [Entry(f"test image {r}", str(splits.classes[labels[r]])) for r in rows]
            page.add(net, entries, images, splits.mean, splits.std)
    page.save(path, report)


def figures(result: Dict[str, Any]) -> List[List[str]]:
    """Results and costs of a run, as labels and text."""
    seconds = datetime.timedelta(seconds=round(result["seconds"]))
    rows = [
        ["test error", f"{result['test_error']:.2f} %"],
        ["test images", f"{result['test_images']:,}"],
        ["best epoch", str(result["best_epoch"])],
        ["parameters", f"{result['parameters']:,}"],
        ["training time", str(seconds)],
        ["images per second", f"{result['images_per_second']:,.1f}"],
        ["peak memory", f"{result['peak_mb']:,} MB"],
    ]
    return rows + [
        [f"test {name}".replace("_", " "), f"{value:.4g}"] for name, value in result["test"].items()
    ]


def curves(history: Sequence[Record]) -> List[Dict[str, Any]]:
    """Charts of losses, accuracies, other scores and speed over the epochs."""
    charts: Dict[str, List[Dict[str, Any]]] = {"loss": [], "accuracy": [], "other scores": []}
    for name in dict.fromkeys(name for record in history for name in record):
        section, _, score = name.partition("/")
        if not score:
            continue
        kind = "accuracy" if score.startswith(("accuracy", "top")) else "other scores"
        if section == "train" and kind != "accuracy" or score == "cross_entropy":
            kind = "loss"
        points = [[r["epoch"], float(f"{r[name]:.5g}")] for r in history if finite(r, name)]
        if points:
            charts[kind].append({"name": f"{section} {score}".replace("_", " "), "points": points})
    speed = [[r["epoch"], float(f"{r['images_per_second']:.4g}")] for r in history]
    charts["speed"] = [{"name": "images per second", "points": speed}]
    return [{"title": title, "series": series} for title, series in charts.items() if series]


def finite(record: Record, name: str) -> bool:
    """Whether an epoch has a finite figure of this name."""
    return math.isfinite(record.get(name, math.nan))


def confusion(counts: np.ndarray) -> Dict[str, Any]:
    """The confusion matrix, or for many classes the worst classes and their mistakes."""
    accuracies, images, order = class_accuracies(counts), counts.sum(axis=1), worst_classes(counts)
    if len(counts) > MOST_CLASSES:
        order = order[:MOST_ROWS]
    return {
        "counts": counts.tolist() if len(counts) <= MOST_CLASSES else None,
        "accuracies": [[k, round(float(accuracies[k]), 4), int(images[k])] for k in order],
        "pairs": frequent_mistakes(counts, MOST_ROWS),
    }


def worst(net: Any, splits: Splits, wrong: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Rows and pixels of the wrongly classified images with the least probable labels."""
    rows = wrong[np.linspace(0, len(wrong) - 1, min(len(wrong), JUDGED)).round().astype(int)]
    samples, rng = splits.test.images or splits.test, np.random.default_rng(0)
    shares = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        images = nd.array(samples.load(batch, rng), ctx=net.device)
        logits = net.trace(images).logits.astype("float32")
        labels = nd.array(splits.test.labels[batch], ctx=net.device)
        shares.append(nd.log_softmax(logits).pick(labels).asnumpy())
    rows = rows[np.argsort(np.concatenate(shares), kind="stable")[:MISTAKES]]
    pixels = denormalise(samples.load(rows, rng), splits.mean, splits.std)
    return rows, pixels
