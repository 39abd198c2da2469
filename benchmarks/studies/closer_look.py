"""What a closer look at birds could gain: known boxes, features that are not trained.

python benchmarks/studies/closer_look.py --backbone-weights mobilenetv2_1.0.params --write

Only training images are read. A linear classifier learns from four fifths of them and is tested on
the last fifth, five times: on each view by itself, and on the whole image and each view together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from gluon_attention.command_line import Parser, command
from gluon_attention.datasets.cub import Birds, read_birds, regions
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.view import View
from gluon_attention.fields import number
from gluon_attention.interop.load import load_backbone
from gluon_attention.ops.activation_box import activation_box
from gluon_attention.ops.attention_crop import crop_box
from gluon_attention.training.evaluation import region_scores
from gluon_attention.zoo.backbones import backbone
from gluon_attention.zoo.racnn.task import strongest

import mxnet as mx
import numpy as np
from mxnet import nd
from scipy.optimize import minimize
from scipy.special import log_softmax

FOLDS, BATCH = 5, 20
SIDE = 0.74  # of a box, relative to the image's
WEIGHT_DECAY = 1e-3  # of the linear classifier
WHOLE = "the whole image"
METRIC, OVERLAP = "linear_accuracy", "overlaps_bird"  # by half of the union of both


def views(features: nd.NDArray, earlier: nd.NDArray, birds: np.ndarray) -> Dict[str, nd.NDArray]:
    """Boxes (N, 3 or 4) of every view but the whole image; `birds` are corners (N, 4)."""
    centres = (birds[:, :2] + birds[:, 2:]) / 2
    tight = np.clip((birds[:, 2:] - birds[:, :2]).max(axis=1, keepdims=True) / 2 * 1.1, 0.3, 1)
    response = strongest(features, "energy").asnumpy()[:, :2]
    return {
        "a box in the middle": _boxes(0 * centres, SIDE),
        "a box at the strongest response": _boxes(response, SIDE),
        "a box around what is active": activation_box(nd, features, earlier),
        "a box around the bird's middle": _boxes(centres, SIDE),
        "a box as large as the bird": _boxes(centres, tight),
    }


def _boxes(centres: np.ndarray, half_side: Any) -> nd.NDArray:
    """Boxes (N, 3) inside the image; `half_side` is a number or an array (N, 1)."""
    half_side = np.broadcast_to(half_side, (len(centres), 1))
    centres = np.clip(centres, half_side - 1, 1 - half_side)
    return nd.array(np.concatenate([centres, half_side], axis=1))


def features(
    birds: Birds, rows: np.ndarray, net: mx.gluon.Block, size: int
) -> Tuple[Dict[str, np.ndarray], Dict[str, float]]:
    """Mean features (N, C) of every view, and per cent of boxes that overlap the birds.

    All views but one have half the side of the images.
    """
    view = View(size, short=round(size * 512 / 448))
    means: Dict[str, List[np.ndarray]] = {}
    overlaps: Dict[str, List[float]] = {}
    corners = regions(birds, rows, view)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        pictures = [decode(birds.source.content(row), birds.source.name(row)) for row in batch]
        images = nd.array(np.stack([view(picture) for picture in pictures]))
        half = nd.Pooling(images, kernel=(2, 2), stride=(2, 2), pool_type="avg")
        last, earlier = net(half)
        maps = {WHOLE: last, "all its pixels": net(images)[0]}
        regions_here = corners[start : start + BATCH]
        for name, boxes in views(last, earlier, regions_here).items():
            maps[name], _ = net(crop_box(nd, images, boxes, size // 2))
            scores = region_scores(boxes.expand_dims(1).asnumpy(), regions_here)
            overlaps.setdefault(name, []).append(len(batch) * scores["box_overlaps_region"])
        for name, feature_map in maps.items():
            means.setdefault(name, []).append(feature_map.mean(axis=(2, 3)).asnumpy())
    percents = {name: 100 * sum(shares) / len(rows) for name, shares in overlaps.items()}
    return {name: np.concatenate(parts) for name, parts in means.items()}, percents


def log_probabilities(inputs: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Log-probabilities (N, classes), each from a classifier that was not trained on the image."""
    scaled = inputs / np.linalg.norm(inputs, axis=1, keepdims=True) * 20
    scaled = np.concatenate([scaled - scaled.mean(axis=0), np.ones((len(inputs), 1))], axis=1)
    outputs = np.empty((len(inputs), classes))
    folds = stratified_folds(labels)
    for fold in range(FOLDS):
        training, test = folds != fold, folds == fold
        weights = _fit(scaled[training], np.eye(classes)[labels[training]])
        outputs[test] = log_softmax(scaled[test] @ weights, axis=1)
    return outputs


def stratified_folds(labels: np.ndarray) -> np.ndarray:
    """The fold of each image; every fold has as many images of a class as the others."""
    folds = np.empty(len(labels), int)
    for label in np.unique(labels):
        rows = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
        folds[rows] = np.arange(len(rows)) % FOLDS
    return folds


def _fit(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights (features, classes) that minimise cross entropy with weight decay."""
    shape = inputs.shape[1], targets.shape[1]

    def loss(flat: np.ndarray) -> Tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        log_probability = log_softmax(inputs @ weights, axis=1)
        gradient = inputs.T @ (np.exp(log_probability) - targets) / len(inputs)
        gradient += 2 * WEIGHT_DECAY * weights
        cross_entropy = -(targets * log_probability).sum() / len(inputs)
        return cross_entropy + WEIGHT_DECAY * (weights**2).sum(), gradient.ravel()

    start = np.zeros(np.prod(shape))
    return minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(shape)


def accuracies(means: Dict[str, np.ndarray], labels: np.ndarray, classes: int) -> Dict[str, float]:
    """Percent for every view, and for every other view together with the whole image."""
    outputs = {name: log_probabilities(mean, labels, classes) for name, mean in means.items()}
    for name in [name for name in means if name != WHOLE]:
        outputs[f"{WHOLE} and {name}"] = outputs[WHOLE] + outputs[name]
    return {name: 100 * np.mean(out.argmax(axis=1) == labels) for name, out in outputs.items()}


def append_rows(network: str, classes: int, figures: Dict[str, Dict[str, float]]) -> None:
    """Append the figures of each metric to results.csv."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from figures import rows, runs

    data = f"CUB-200-2011, {classes} kinds, training images"
    line = runs.portable_command(rows.command().partition(" ")[2])
    rows.append(
        [
            rows.measured(f"{network}, {name}", data, metric, value, "%", command=line)
            for metric, percents in figures.items()
            for name, value in percents.items()
        ]
    )


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Compare all views of the training images."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--data-dir", type=Path, default="data/CUB_200_2011", metavar="PATH", help="folder of birds"
    )
    parser.add_argument("--backbone", default="mobilenetv2_1.0", help="name of the backbone")
    parser.add_argument(
        "--backbone-weights", required=True, metavar="PATH", help="weights of the backbone"
    )
    parser.add_argument(
        "--size", type=number(int, 32), default=448, metavar="N", help="side of the images"
    )
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    birds = read_birds(flags.data_dir)
    rows = np.flatnonzero(birds.training)
    net = backbone(flags.backbone, earlier=True)
    load_backbone(net, flags.backbone_weights)
    net.hybridize()
    means, overlaps = features(birds, rows, net, flags.size)
    percents = accuracies(means, birds.labels[rows], len(birds.names))
    for name, value in percents.items():
        print(f"{value:6.1f} %  {name}")
    for name, value in overlaps.items():
        print(f"{value:6.1f} %  overlap: {name}")
    if flags.write:
        append_rows(flags.backbone, len(birds.names), {METRIC: percents, OVERLAP: overlaps})


if __name__ == "__main__":
    command(main)
