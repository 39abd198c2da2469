"""Writes generated scenes in the layout of CUB-200-2011."""

from __future__ import annotations

from pathlib import Path
from typing import List

from gluon_attention.datasets.detail import CLASSES, scenes

import cv2


def write_cub(
    root: str, count: int, *, size: int = 192, coarse: int = 64, test: float = 0.4, seed: int = 0
) -> None:
    """Write scenes in the layout of CUB-200-2011, `test` of them as its test images.

    Pictures are PNG: JPEG would blur the stripes. Boxes are those of the marks.
    """
    folder = Path(root)
    lists: List[List[str]] = [[] for _ in range(4)]
    names = [f"{label + 1:03d}.{name}" for label, name in enumerate(CLASSES)]
    for name in names:
        (folder / "images" / name).mkdir(parents=True, exist_ok=True)
    first_test = count - round(count * test)
    for row, (image, label, mark) in enumerate(zip(*scenes(count, size, coarse, seed))):
        file = f"{names[label]}/{row + 1:05d}.png"
        cv2.imwrite(str(folder / "images" / file), image.transpose(1, 2, 0)[..., ::-1])
        left, top, right, bottom = (mark + 1) / 2 * (size - 1) + 0.5  # from the edge of pixel 0
        box = f"{left:.1f} {top:.1f} {right - left:.1f} {bottom - top:.1f}"
        values = (file, str(label + 1), str(int(row < first_test)), box)
        for lines, value in zip(lists, values):
            lines.append(f"{row + 1} {value}\n")
    lists.append([f"{label + 1} {name}\n" for label, name in enumerate(names)])
    files = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "classes")
    for file, lines in zip(files, lists):
        (folder / f"{file}.txt").write_text("".join(lines), encoding="utf-8")
