"""ImageNet (ILSVRC-2012) from folders of pictures or from RecordIO files.

Training: a random part of 8 to 100 % of the area and aspect 3/4 to 4/3, resized, flipped at random
and colour-jittered as in 'Bag of Tricks for Image Classification' (arXiv 1812.01187).
Evaluation: the centre crop of 224 from the picture whose short side is 256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

from ..errors import UserError
from .image_folder import PictureFiles, Pictures, scan
from .published import name_unreadable, read_lines
from .records import Records
from .sampling import Samples, Splits, hold_out, register
from .view import IMAGENET_MEAN, IMAGENET_STD, View, centre_view

EXPECTED_FILES = (
    "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or train.rec, train.idx, val.rec and val.idx"
)


@register
def imagenet(
    root: str,
    *,
    size: int = 224,
    seed: int = 0,
    validation: int = 10000,
    workers: int = 4,
    jitter: float = 0.4,
    lighting: float = 0.1,
) -> Splits:
    """ImageNet; `test` has the 50,000 pictures that ILSVRC calls validation.

    Args:
        root: folder of `train/<wnid>/` and `val/<wnid>/`, or of train.rec and val.rec with .idx.
            The label is the line number of the wnid in synsets.txt, or else its rank among the
            sorted folders.
        jitter: largest relative change of brightness, contrast and saturation.
        lighting: standard deviation of the noise along ImageNet's colour axes.
    """
    folder = Path(root)
    training, names = _pictures(folder, "train", workers)
    test, _ = _pictures(folder, "val", workers, names)
    train, held_out = hold_out(training.labels, validation, seed, tenth=True)
    centre = centre_view(size)
    return Splits(
        training.samples(train, View(size, random=True, jitter=jitter, lighting=lighting)),
        training.samples(held_out, centre),
        test.samples(np.arange(len(test.labels)), centre),
        classes=names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        view=centre,
    )


def imagenet_val(root: str, *, size: int = 224, workers: int = 4) -> Tuple[Samples, List[str]]:
    """Samples and class names of val/ alone, for evaluation without training pictures."""
    with name_unreadable():
        pictures, names = _pictures(Path(root), "val", workers)
    return pictures.samples(np.arange(len(pictures.labels)), centre_view(size)), names


def read_synsets(folder: Path) -> Dict[str, str]:
    """Class name by wnid, in the order of the labels; empty without synsets.txt."""
    path = folder / "synsets.txt"
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in read_lines(path)]
    if not lines or not all(lines) or len({line[0] for line in lines}) < len(lines):
        raise UserError(f"{path} must have one line '<wnid> <name>' for each class")
    return {line[0]: line[-1].strip() for line in lines}


def _pictures(
    folder: Path, name: str, workers: int, wnids: Sequence[str] = ()
) -> Tuple[Pictures, List[str]]:
    """The pictures and class names of a subfolder, or of a .rec file when there is one.

    Args:
        wnids: the classes in the order of their labels, if there is no synsets.txt.
    """
    synsets = read_synsets(folder) or {wnid: wnid for wnid in wnids}
    packed = folder / f"{name}.rec"
    if packed.is_file():
        records = Records(packed)
        names = list(synsets.values()) or [str(n) for n in range(records.labels.max() + 1)]
        return Pictures(records, records.labels, len(wnids or names), workers), names
    if not (folder / name).is_dir():
        raise UserError(f"{folder} has no {name}/ folder; --data-dir must have {EXPECTED_FILES}")
    index = {wnid: label for label, wnid in enumerate(synsets)}
    paths, labels, names = scan(folder / name, index or None)
    names = list(synsets.values()) or names
    return Pictures(PictureFiles(paths), labels, len(wnids or names), workers), names
