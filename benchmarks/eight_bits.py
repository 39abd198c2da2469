"""Accuracy on the whole test split in float32 and in 8 bits.

python benchmarks/eight_bits.py ram_28 --data-dir data/mnist --write
python benchmarks/eight_bits.py runs/detail-0 --write
"""

from __future__ import annotations

import argparse
from typing import Any, List, Optional, Sequence, Tuple

from gluon_attention.command_line import Parser, command
from gluon_attention.commands._data import Split, add_data, load
from gluon_attention.commands.export import calibration
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import Batches
from gluon_attention.export.fusion import as_block
from gluon_attention.export.graph import as_graph
from gluon_attention.export.int8 import quantize
from gluon_attention.fields import number

import numpy as np
from figures import rows
from mxnet import nd

BATCH = 100


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Compare both types on one network."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", help="network with weights, file of weights or folder of a run")
    parser.add_argument("--name", help="name in the rows (default: that of the network)")
    parser.add_argument(
        "--images",
        type=number(int, 1),
        default=64,
        metavar="N",
        help="number of validation images for calibration (default: 64)",
    )
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    add_data(parser)
    parser.set_defaults(calibrate=None, size=None)  # with validation images
    flags = parser.parse_args(argv)
    model = open_model(flags.model)
    model.net.trace(nd.zeros((1, *model.shape)))
    test = load(model, flags, "test")
    int8 = as_block(quantize(as_graph(model.net), calibration(model, flags)))
    model.net.hybridize(static_alloc=True, static_shape=True)
    labels, float32_classes, int8_classes = predictions([model.net, int8], test)
    task = (test.source.get("options") or {}).get("task")
    dataset = test.source["name"] + (f"-{task}" if task else "")
    figures = {
        "float32_accuracy": 100 * np.mean(float32_classes == labels),
        "int8_accuracy": 100 * np.mean(int8_classes == labels),
        "int8_agreement": 100 * np.mean(float32_classes == int8_classes),
    }
    print(f"{len(labels)} images: " + ", ".join(f"{k} {v:.2f} %" for k, v in figures.items()))
    if flags.write:
        rows.append(rows_of(flags, model.name, dataset, figures))


def predictions(blocks: Sequence[Any], split: Split) -> Tuple[np.ndarray, ...]:
    """Labels of the whole split, and the class that each block predicts."""
    columns: List[List[np.ndarray]] = [[] for _ in range(1 + len(blocks))]
    for images, labels in Batches(split.samples, BATCH).epoch(0):
        batch = nd.array(images)
        columns[0].append(np.asarray(labels))
        for column, block in zip(columns[1:], blocks):
            column.append(block(batch).asnumpy().argmax(axis=1))
    return tuple(np.concatenate(column) for column in columns)


def rows_of(flags: argparse.Namespace, network: str, dataset: str, figures: Any) -> List[rows.Row]:
    """The figures as rows of results.csv."""
    return [
        rows.measured(flags.name or network, dataset, metric, value, "%", samples=flags.images)
        for metric, value in figures.items()
    ]


if __name__ == "__main__":
    command(main)
