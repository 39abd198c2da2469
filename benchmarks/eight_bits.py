"""What 8 bits cost in accuracy: the whole test split in float32 and in 8 bits.

python benchmarks/eight_bits.py ram_28 --data-dir data/mnist --write
python benchmarks/eight_bits.py runs/detail-0 --write
"""

from __future__ import annotations

import argparse
from typing import Any, List, Optional, Sequence, Tuple

from gluon_attention.command_line import command
from gluon_attention.commands.data import Split, add_data, load
from gluon_attention.commands.export import calibration
from gluon_attention.commands.open_model import open_model
from gluon_attention.datasets.sampling import Batches
from gluon_attention.export.fusion import as_block
from gluon_attention.export.graph import as_graph
from gluon_attention.export.int8 import quantize

import numpy as np
from figures import rows
from figures.flags import Parser, number
from mxnet import nd

BATCH = 100


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", help="a name with weights, a file of weights or a run's folder")
    parser.add_argument("--name", help="what the rows call it; the network's name without it")
    parser.add_argument(
        "--images", type=number(int, 1), default=64, help="validation images that calibrate"
    )
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    add_data(parser)
    parser.set_defaults(calibrate=None)  # with validation images
    flags = parser.parse_args(argv)
    model = open_model(flags.model)
    model.net.trace(nd.zeros((1, *model.shape)))
    test = load(model, flags, "test")
    short = as_block(quantize(as_graph(model.net), calibration(model, flags)))
    model.net.hybridize(static_alloc=True, static_shape=True)
    labels, ours, theirs = answers([model.net, short], test)
    task = (test.source.get("options") or {}).get("task")
    dataset = test.source["name"] + (f"-{task}" if task else "")
    figures = {
        "float32_accuracy": 100 * np.mean(ours == labels),
        "int8_accuracy": 100 * np.mean(theirs == labels),
        "int8_agreement": 100 * np.mean(ours == theirs),
    }
    print(f"{len(labels)} images: " + ", ".join(f"{k} {v:.2f} %" for k, v in figures.items()))
    if flags.write:
        rows.append(rows_of(flags, model.name, dataset, figures))


def answers(blocks: Sequence[Any], split: Split) -> Tuple[np.ndarray, ...]:
    """Labels of the whole split, and the class that each block tells."""
    columns: List[List[np.ndarray]] = [[] for _ in range(1 + len(blocks))]
    for images, labels in Batches(split.samples, BATCH).epoch(0):
        given = nd.array(images)
        columns[0].append(np.asarray(labels))
        for column, block in zip(columns[1:], blocks):
            column.append(block(given).asnumpy().argmax(axis=1))
    return tuple(np.concatenate(column) for column in columns)


def rows_of(flags: argparse.Namespace, network: str, dataset: str, figures: Any) -> List[rows.Row]:
    """The figures as rows of results.csv."""
    return [
        rows.measured(flags.name or network, dataset, metric, value, "%", samples=flags.images)
        for metric, value in figures.items()
    ]


if __name__ == "__main__":
    command(main)
