"""ImageNet (ILSVRC-2012) from folders of pictures or from RecordIO files.

Training pictures: a part of 8 to 100 % of the area and aspect 3/4 to 4/3, resized and mirrored,
with colours changed as in 'Bag of Tricks for Image Classification' (arXiv 1812.01187).
Evaluation: the centre of the picture whose short side is 256 for a crop of 224.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..errors import UserError
from .image_folder import Files, picture_batches, scan
from .published import looked_into, text_lines
from .records import Records
from .sampling import Batches, Splits, hold_out, recorded
from .view import IMAGENET_MEAN, IMAGENET_STD, View, centre_view

LAYOUT = "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or train.rec, train.idx, val.rec and val.idx"


class Part(NamedTuple):
    """All pictures of train or val."""

    source: Any  # Files or Records
    labels: np.ndarray
    names: List[str]


@recorded
def imagenet(
    root: str,
    batch_size: int,
    *,
    size: int = 224,
    seed: int = 0,
    validation: int = 10000,
    workers: int = 4,
    jitter: float = 0.4,
    lighting: float = 0.1,
    part: Tuple[int, int] = (0, 1),
) -> Splits:
    """Batches of ImageNet; `test` is the 50,000 pictures that ILSVRC calls validation.

    Args:
        root: folder of `train/<wnid>/` and `val/<wnid>/`, or of train.rec and val.rec with .idx.
            The label is the line of the wnid in synsets.txt, or else its rank among the folders.
        validation: pictures cut from the training set; a tenth of it at most.
        workers: threads that decode.
        jitter, lighting: changes of brightness, contrast, saturation and of the colour of light.
    """
    folder = Path(root)
    training = _part(folder, "train")
    test = _part(folder, "val", training.names)
    train, held = hold_out(training.labels, validation, seed, tenth=True)
    moving = View(size, random=True, jitter=jitter, lighting=lighting)

    def of(pictures: Part, rows: np.ndarray, view: View, **order: Any) -> Batches:
        return picture_batches(
            pictures.source,
            pictures.labels,
            rows,
            batch_size,
            len(training.names),
            view=view,
            workers=workers,
            **order,
        )

    return Splits(
        of(training, train, moving, shuffle=True, seed=seed, part=part),
        of(training, held, centre_view(size)),
        of(test, np.arange(len(test.labels)), centre_view(size)),
        classes=training.names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        view=centre_view(size),
    )


def imagenet_val(
    root: str, batch_size: int, *, size: int = 224, workers: int = 4
) -> Tuple[Batches, List[str]]:
    """Batches of val/ alone and the names of its classes, to evaluate without training pictures."""
    with looked_into():
        source, labels, names = _part(Path(root), "val")
    rows, view = np.arange(len(labels)), centre_view(size)
    batches = picture_batches(
        source, labels, rows, batch_size, len(names), view=view, workers=workers
    )
    return batches, names


def read_synsets(folder: Path) -> Dict[str, str]:
    """Name of each wnid, in the order of the labels; empty without synsets.txt."""
    path = folder / "synsets.txt"
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in text_lines(path)]
    if not lines or not all(lines) or len({line[0] for line in lines}) < len(lines):
        raise UserError(f"{path} must have one line '<wnid> <name>' for each class")
    return {line[0]: line[-1].strip() for line in lines}


def _part(folder: Path, name: str, wnids: Sequence[str] = ()) -> Part:
    """The pictures of a subfolder, or of a .rec file when there is one.

    Args:
        wnids: the classes in the order of their labels, when synsets.txt does not say.
    """
    synsets = read_synsets(folder) or {wnid: wnid for wnid in wnids}
    packed = folder / f"{name}.rec"
    if packed.is_file():
        records = Records(packed)
        names = list(synsets.values()) or [str(n) for n in range(records.labels.max() + 1)]
        return Part(records, records.labels, names)
    if not (folder / name).is_dir():
        raise UserError(f"{folder} has no {name}/ folder; --data-dir must have {LAYOUT}")
    index = {wnid: label for label, wnid in enumerate(synsets)}
    paths, labels, found = scan(folder / name, index or None)
    return Part(Files(paths), labels, list(synsets.values()) or found)
