"""What a closer look at birds could win: boxes that are known, features that are not trained.

python benchmarks/closer_look.py --backbone-weights mobilenetv2_1.0.params --write

Training images alone are read. A linear classifier learns from four fifths of them and is tested
on the last, five times: of each view by itself, and of the whole image and each view together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from gluon_attention.command_line import command
from gluon_attention.datasets.cub import Birds, read_birds, regions
from gluon_attention.datasets.pictures import decode
from gluon_attention.datasets.view import View
from gluon_attention.interop.load import load_backbone
from gluon_attention.ops.attention_crop import crop_box
from gluon_attention.zoo.backbones import backbone
from gluon_attention.zoo.racnn.task import strongest

import mxnet as mx
import numpy as np
from figures import rows, runs
from figures.flags import Parser, number
from mxnet import nd
from scipy.optimize import minimize
from scipy.special import log_softmax

FOLDS, BATCH = 5, 20
SIDE = 0.74  # of a box, as a share of the image's
DECAY = 1e-3  # of the squared weights of a classifier
WHOLE = "the whole image"
METRIC = "linear_accuracy"


def views(features: nd.NDArray, birds: np.ndarray) -> Dict[str, nd.NDArray]:
    """What there is to look at closer, as boxes (N, 3) of each image."""
    middles = (birds[:, :2] + birds[:, 2:]) / 2
    tight = np.clip((birds[:, 2:] - birds[:, :2]).max(axis=1, keepdims=True) / 2 * 1.1, 0.3, 1)
    response = strongest(features, "energy").asnumpy()[:, :2]
    return {
        "a box in the middle": _boxes(0 * middles, SIDE),
        "a box at the strongest response": _boxes(response, SIDE),
        "a box around the bird's middle": _boxes(middles, SIDE),
        "a box as large as the bird": _boxes(middles, tight),
    }


def _boxes(middles: np.ndarray, half: Any) -> nd.NDArray:
    """Boxes that do not stick out of the image; half a side of all, or of each (N, 1)."""
    half = np.broadcast_to(half, (len(middles), 1))
    return nd.array(np.concatenate([np.clip(middles, half - 1, 1 - half), half], axis=1))


def features(
    birds: Birds, taken: np.ndarray, net: mx.gluon.Block, size: int
) -> Dict[str, np.ndarray]:
    """Mean features (N, C) of every view. All but one are half as large as the images."""
    view = View(size, short=round(size * 512 / 448))
    found: Dict[str, List[np.ndarray]] = {}
    boxes = regions(birds, taken, view)
    for start in range(0, len(taken), BATCH):
        part = taken[start : start + BATCH]
        pictures = [decode(birds.source.content(row), birds.source.name(row)) for row in part]
        images = nd.array(np.stack([view(picture) for picture in pictures]))
        seen = {
            WHOLE: nd.Pooling(images, kernel=(2, 2), stride=(2, 2), pool_type="avg"),
            "all its pixels": images,
        }
        maps = {name: net(given) for name, given in seen.items()}
        for name, box in views(maps[WHOLE], boxes[start : start + BATCH]).items():
            maps[name] = net(crop_box(nd, images, box, size // 2))
        for name, each in maps.items():
            found.setdefault(name, []).append(each.mean(axis=(2, 3)).asnumpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def answers(given: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Log-probabilities (N, classes) from a classifier that has not seen the image."""
    scaled = given / np.linalg.norm(given, axis=1, keepdims=True) * 20
    scaled = np.concatenate([scaled - scaled.mean(axis=0), np.ones((len(given), 1))], axis=1)
    found = np.empty((len(given), classes))
    fold = _folds(labels)
    for held in range(FOLDS):
        weights = _fitted(scaled[fold != held], np.eye(classes)[labels[fold != held]])
        found[fold == held] = log_softmax(scaled[fold == held] @ weights, axis=1)
    return found


def _folds(labels: np.ndarray) -> np.ndarray:
    """Which part each image belongs to; all parts have as many of a class."""
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        of_class = np.random.RandomState(label).permutation(np.flatnonzero(labels == label))
        fold[of_class] = np.arange(len(of_class)) % FOLDS
    return fold


def _fitted(given: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights (features, classes) of the least cross entropy, with a decay."""
    shape = given.shape[1], targets.shape[1]

    def loss(flat: np.ndarray) -> Tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        likely = log_softmax(given @ weights, axis=1)
        slope = given.T @ (np.exp(likely) - targets) / len(given) + 2 * DECAY * weights
        missed = -(targets * likely).sum() / len(given) + DECAY * (weights**2).sum()
        return missed, slope.ravel()

    return minimize(loss, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B").x.reshape(shape)


def accuracies(found: Dict[str, np.ndarray], labels: np.ndarray, classes: int) -> Dict[str, float]:
    """In percent, of every view, and of every other one together with the whole image."""
    told = {name: answers(given, labels, classes) for name, given in found.items()}
    told.update(
        {f"{WHOLE} and {name}": told[WHOLE] + told[name] for name in found if name != WHOLE}
    )
    return {name: 100 * np.mean(each.argmax(axis=1) == labels) for name, each in told.items()}


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path, default="data/CUB_200_2011", metavar="PATH")
    parser.add_argument("--backbone", default="mobilenetv2_1.0", help="a network of Gluon's")
    parser.add_argument("--backbone-weights", required=True, metavar="PATH", help="its weights")
    parser.add_argument("--size", type=number(int, 32), default=448, help="side of the images")
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    birds = read_birds(flags.data_dir)
    taken = np.flatnonzero(birds.training)
    net = backbone(flags.backbone)
    load_backbone(net, flags.backbone_weights)
    net.hybridize()
    found = features(birds, taken, net, flags.size)
    shown = accuracies(found, birds.labels[taken], len(birds.names))
    for name, value in shown.items():
        print(f"{value:6.1f} %  {name}")
    if flags.write:
        data = f"CUB-200-2011, {len(birds.names)} kinds, training images"
        line = runs.command(rows.command().partition(" ")[2])  # without places of this machine
        rows.append(
            [
                rows.measured(f"{flags.backbone}, {name}", data, METRIC, value, "%", command=line)
                for name, value in shown.items()
            ]
        )


if __name__ == "__main__":
    command(main)
