"""Draw the picture at the head of README from the weights that ship and the data in the repository.

python benchmarks/studies/front_picture.py
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from gluon_attention import get_model
from gluon_attention.command_line import Parser, command
from gluon_attention.datasets import cifar10, mnist
from gluon_attention.datasets.detail import detail
from gluon_attention.datasets.sampling import Splits
from gluon_attention.explain.pictures import denormalise, paint, picture
from gluon_attention.explain.tiles import below
from gluon_attention.storage.atomic import atomic_file
from gluon_attention.zoo.pretrained import all_weights

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
WIDTH = 930
CIFAR_ROWS = [20, 8, 34]  # of the test images of the sample
SCENE_ROWS = [14, 3, 2]
DIGIT_ROWS = [3]


def attention_of(name: str, splits: Splits, rows: List[int]) -> np.ndarray:
    """Picture of what a pretrained network attends to in some test images."""
    images = splits.test.load(np.array(rows), np.random.default_rng(0))
    raw = denormalise(images, splits.mean, splits.std)
    return picture(paint(get_model(name, pretrained=True), raw, splits.mean, splits.std))


def scaled(pixels: np.ndarray, width: int) -> np.ndarray:
    """The picture with another width and the same proportions."""
    height = round(pixels.shape[0] * width / pixels.shape[1])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.LANCZOS))


def front() -> np.ndarray:
    """Masks beside boxes, and glimpses below them."""
    cifar = cifar10(f"{SAMPLE}/cifar10")
    masks = attention_of("cifar_residual_attention56_slim", cifar, CIFAR_ROWS)
    scenes = detail(**all_weights()["racnn_detail"]["source"]["options"])
    boxes = attention_of("racnn_detail", scenes, SCENE_ROWS)
    ratios = [part.shape[1] / part.shape[0] for part in (masks, boxes)]  # width to height
    left = round(WIDTH * ratios[0] / sum(ratios))
    above = [scaled(masks, left), scaled(boxes, WIDTH - left)]
    height = max(len(part) for part in above)
    above = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), "edge") for part in above]
    digits = mnist(f"{SAMPLE}/mnist", task="cluttered60")
    glimpses = attention_of("ram_cluttered_60", digits, DIGIT_ROWS)
    first = glimpses[: len(glimpses) // 2]  # of its two rows
    return below([np.concatenate(above, axis=1), scaled(first, WIDTH)])


def main() -> None:
    """Draw the picture."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    target = ROOT / "docs" / "attention.png"
    parser.add_argument(
        "-o", "--output", default=target, metavar="PNG", help="default: docs/attention.png"
    )
    flags = parser.parse_args()
    picture = Image.fromarray(front())
    with atomic_file(flags.output) as temporary:  # 256 colours are a third of the size
        picture.quantize(256, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    command(main)
