"""CUB-200-2011, birds of 200 species, or any folder with its layout.

Training: the picture resized to a short side of 512, a random crop of 448, flipped at random.
Evaluation: the centre crop. The boxes around the birds are for evaluation only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import UserError
from .image_folder import PictureFiles, Pictures
from .pictures import decode
from .published import missing_files, read_lines
from .sampling import Samples, Splits, hold_out, register
from .view import IMAGENET_MEAN, IMAGENET_STD, View

LISTS = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "classes")


class Birds(NamedTuple):
    """The annotations of all pictures, in the order of images.txt."""

    source: PictureFiles
    labels: np.ndarray  # (N,)
    training: np.ndarray  # (N,) bool
    boxes: np.ndarray  # (N, 4): left, top, width, height, from edge to edge of pixels
    names: Tuple[str, ...]  # of the classes


@register
def cub200(
    root: str,
    *,
    size: int = 448,
    short: Optional[int] = None,
    seed: int = 0,
    validation: int = 600,
    augment: bool = True,
    workers: int = 4,
) -> Splits:
    """CUB-200-2011; validation and test samples have `regions`, the boxes of the birds.

    Args:
        root: folder of images/ and the five lists, images.txt and so on.
        short: short side that pictures are resized to before the crop; None for 512 / 448 of the
            size.
    """
    birds = read_birds(Path(root))
    short = round(size * 512 / 448) if short is None else short
    rows = np.flatnonzero(birds.training)
    if not 0 < len(rows) < len(birds.labels):
        raise UserError(f"{root}/train_test_split.txt must have lines that end in 1 and in 0")
    train, held_out = hold_out(birds.labels[rows], validation, seed, tenth=True)
    centre = View(size, short=short)
    pictures = Pictures(birds.source, birds.labels, len(birds.names), workers)

    def with_regions(rows: np.ndarray) -> Samples:
        samples = pictures.samples(rows, centre)
        return replace(samples, regions=lambda: regions(birds, rows, centre))

    return Splits(
        pictures.samples(rows[train], replace(centre, random=augment)),
        with_regions(rows[held_out]),
        with_regions(np.flatnonzero(~birds.training)),
        classes=birds.names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        view=centre,
    )


def read_birds(folder: Path) -> Birds:
    """Read the five lists of the data set."""
    lists = {name: _read_list(folder / f"{name}.txt") for name in LISTS}
    images = lists["images"]
    for name in LISTS[1:4]:
        lacking = [number for number in images if number not in lists[name]]
        if lacking:
            raise UserError(
                f"{folder / name}.txt has no line for image {lacking[0]}; copy it again"
            )
    classes = lists["classes"]
    if not images or not classes:
        raise missing_files(folder, "any image in images.txt or any class in classes.txt")
    for file in images.values():
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise UserError(f"{folder}/images.txt: {file!a} is not below images/; copy it again")
    label_of = {number: label for label, number in enumerate(classes)}

    def column(name: str) -> Iterator[str]:
        return (lists[name][number] for number in images)

    try:
        boxes = [[float(number) for number in value.split()] for value in column("bounding_boxes")]
        if any(len(box) != 4 or not np.isfinite(box).all() for box in boxes):
            raise ValueError("a box is not four numbers")
        return Birds(
            PictureFiles([folder / "images" / file for file in images.values()]),
            np.array([label_of[number] for number in column("image_class_labels")]),
            np.array([("0", "1").index(value) == 1 for value in column("train_test_split")]),
            np.array(boxes),
            tuple(name.partition(".")[2] or name for name in classes.values()),
        )
    except (ValueError, KeyError) as error:
        raise UserError(
            f"the lists of {folder} do not fit together: {ascii(str(error))}; copy them again"
        ) from None


def regions(birds: Birds, rows: np.ndarray, view: View) -> np.ndarray:
    """Boxes of the birds in the inputs of a centre crop, (N, 4): left, top, right, bottom.

    As in `ops.crop`, the centres of the corner pixels are at -1 and 1.
    """
    boxes = np.empty((len(rows), 4))
    for index, row in enumerate(rows):
        picture = decode(birds.source.content(row), birds.source.name(row))
        shape = np.array(picture.shape[1::-1])  # width, height
        resized = np.maximum(np.rint(shape * (view.short / shape.min())), view.short)
        corner = (resized - view.size) // 2
        upper_left, extent = birds.boxes[row].reshape(2, 2)
        edges = np.stack([upper_left, upper_left + extent]) * (resized / shape) - corner
        positions = edges - 0.5  # the centre of pixel 0 is at 0
        boxes[index] = (positions / (view.size - 1) * 2 - 1).ravel()
    return np.clip(boxes, -1, 1)


def _read_list(path: Path) -> Dict[str, str]:
    """A dictionary from the first word of each line to the rest of the line."""
    if not path.is_file():
        raise missing_files(path.parent, f"{path.name} of CUB-200-2011")
    lines = read_lines(path)
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    incomplete = [number for number, pair in enumerate(pairs) if len(pair) < 2]
    if incomplete:
        raise UserError(
            f"line {incomplete[0] + 1} of {path} is not '<number> <value>'; copy it again"
        )
    values = {number: value.strip() for number, value in pairs}
    if len(values) < len(pairs):
        numbers = [number for number, _ in pairs]
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise UserError(f"{path} has two lines that begin with {twice}; copy it again")
    return values
