"""Stanford Dogs, 120 breeds, or any folder that has its layout.

Pictures are resized so that their short side is `size`. Training: a square at a random place along
the long side, mirrored or not. Evaluation: its centre.
"""

from __future__ import annotations

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
    """Stanford Dogs.

    Args:
        root: folder of Images/, train_list.mat and test_list.mat.
        size: side of the inputs.
        validation: pictures cut from the training list; a tenth of it at most.
        augment: move and mirror training pictures.
        workers: threads that decode.
    """
    folder = Path(root)
    training, test = (_listed(folder, name) for name in LISTS)
    names = _breeds(folder, [*training.items(), *test.items()])
    files = [*training, *test]
    lacking = next((name for name in files if not (folder / "Images" / name).is_file()), None)
    if lacking:
        raise missing_files(folder, f"Images/{lacking}, which its lists name")
    labels = np.array([*training.values(), *test.values()])
    source = PictureFiles([folder / "Images" / name for name in files])
    kept, held = hold_out(labels[: len(training)], validation, seed, tenth=True)
    fixed = View(size, short=size)
    moving = View(size, short=size, random=True) if augment else fixed
    pictures = Pictures(source, labels, len(names), workers)
    return Splits(
        pictures.samples(kept, moving),
        pictures.samples(held, fixed),
        pictures.samples(np.arange(len(training), len(files)), fixed),
        classes=names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        view=fixed,
    )


def _listed(folder: Path, name: str) -> Dict[str, int]:
    """Labels from 0 by file, `<folder>/<picture>`, in the order of a list."""
    from scipy.io import loadmat  # only now: nothing else of the package needs it

    if not (folder / name).is_file():
        raise missing_files(folder, f"{name} of Stanford Dogs")
    try:
        content = loadmat(str(folder / name))
        files = [str(np.ravel(cell)[0]) for cell in np.ravel(content["file_list"])]
        labels = [int(label) - 1 for label in np.ravel(content["labels"])]
    except Exception as error:  # noqa: BLE001 - scipy raises whatever damage leads it to
        raise UserError(f"{folder / name} is not a list of Stanford Dogs: {error}") from None
    if not files or len(files) != len(labels):
        raise UserError(f"{folder / name} lists {len(files)} files and {len(labels)} labels")
    return dict(zip(files, labels))


def _breeds(folder: Path, listed: List[Tuple[str, int]]) -> List[str]:
    """Names of the classes, from the folders that their pictures lie in."""
    found: Dict[int, str] = {}
    for file, label in listed:
        place = found.setdefault(label, Path(file).parent.name)
        if Path(file).parent.name != place:
            raise UserError(f"the lists of {folder} file label {label + 1} under two folders")
    if sorted(found) != list(range(len(found))):
        raise UserError(f"the lists of {folder} leave out a label from 1 to {max(found) + 1}")
    return [found[label].partition("-")[2] or found[label] for label in range(len(found))]
