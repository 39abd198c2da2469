"""`train`: training on a data set; each has a module with its settings and `main`."""

from __future__ import annotations

import argparse
from typing import Any

from .._flags import add_verb
from . import cifar10, cub200, dogs, imagenet, mnist

DATASETS = {
    "cifar10": cifar10,
    "mnist": mnist,
    "imagenet": imagenet,
    "cub200": cub200,
    "dogs": dogs,
}


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "train",
        "training on a data set",
        run,
        "cifar10 --num-layers 92 --epochs 200 --mix-up 1",
        "mnist --task cluttered60",
        "cub200 --help",
        description=(
            "Train a network on a data set, into the folder runs/NAME of the current folder. The "
            "same command resumes an interrupted run. --help after the data set lists its flags."
        ),
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        choices=tuple(DATASETS),
        help="data set: " + ", ".join(DATASETS),
    )
    parser.add_argument(
        "words", metavar="...", nargs=argparse.REMAINDER, help="flags of the data set's training"
    )


def run(flags: argparse.Namespace) -> None:
    DATASETS[flags.dataset].main(flags.words, f"gluon-attention train {flags.dataset}")
