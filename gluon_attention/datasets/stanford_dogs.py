"""Stanford Dogs, 120 breeds, or any folder with its layout.

Pictures are resized to a short side of `size`. Training: a square at a random position along the
long side, flipped at random. Evaluation: the centre square.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from ..errors import UserError
from .image_folder import PictureFiles, Pictures
from .published import missing_files
from .sampling import Splits, hold_out, register
from .view import IMAGENET_MEAN, IMAGENET_STD, View

LISTS = ("train_list.mat", "test_list.mat")


@register
def stanford_dogs(
    root: str,
    *,
    size: int = 384,
    seed: int = 0,
    validation: int = 1200,
    augment: bool = True,
    workers: int = 4,
) -> Splits:
    """Stanford Dogs, from a folder of Images/, train_list.mat and test_list.mat."""
    folder = Path(root)
    training, test = (_read_list(folder, name) for name in LISTS)
    names = _breeds(folder, [*training.items(), *test.items()])
    files = [*training, *test]
    lacking = next((name for name in files if not (folder / "Images" / name).is_file()), None)
    if lacking:
        raise missing_files(folder, f"Images/{lacking}, which its lists name")
    labels = np.array([*training.values(), *test.values()])
    source = PictureFiles([folder / "Images" / name for name in files])
    train, held_out = hold_out(labels[: len(training)], validation, seed, tenth=True)
    centre = View(size, short=size)
    pictures = Pictures(source, labels, len(names), workers)
    return Splits(
        pictures.samples(train, replace(centre, random=augment)),
        pictures.samples(held_out, centre),
        pictures.samples(np.arange(len(training), len(files)), centre),
        classes=names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        view=centre,
    )


def _read_list(folder: Path, name: str) -> Dict[str, int]:
    """Labels from 0 by file, `<folder>/<picture>`, in the order of the list."""
    from scipy.io import loadmat  # here, as no other module needs scipy

    if not (folder / name).is_file():
        raise missing_files(folder, f"{name} of Stanford Dogs")
    try:
        content = loadmat(str(folder / name))
        files = [str(np.ravel(cell)[0]) for cell in np.ravel(content["file_list"])]
        labels = [int(label) - 1 for label in np.ravel(content["labels"])]
    except Exception as error:  # noqa: BLE001 - scipy raises many types for a damaged file
        raise UserError(f"{folder / name} is not a list of Stanford Dogs: {error}") from None
    if not files or len(files) != len(labels):
        raise UserError(f"{folder / name} lists {len(files)} files and {len(labels)} labels")
    return dict(zip(files, labels))


def _breeds(folder: Path, labelled_files: List[Tuple[str, int]]) -> List[str]:
    """Class names in the order of the labels, from the folders of the pictures."""
    folders: Dict[int, str] = {}
    for file, label in labelled_files:
        name = Path(file).parent.name
        if folders.setdefault(label, name) != name:
            raise UserError(f"the lists of {folder} file label {label + 1} under two folders")
    if sorted(folders) != list(range(len(folders))):
        raise UserError(f"the lists of {folder} leave out a label from 1 to {max(folders) + 1}")
    return [folders[label].partition("-")[2] or folders[label] for label in range(len(folders))]
