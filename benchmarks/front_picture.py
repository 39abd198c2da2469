"""Draw the picture at the head of README from the weights that ship and the data in the repository.

python train/cub200_train.py --dataset detail --name detail-0
python benchmarks/front_picture.py runs/detail-0/boxes.png
"""

from __future__ import annotations

import os
from typing import Any, List

from gluon_attention import get_model
from gluon_attention.datasets import cifar10, mnist
from gluon_attention.explain.painters import load_png, pictures, unnormalised
from gluon_attention.explain.tiles import below
from gluon_attention.storage.atomic import written_aside

import numpy as np
from figures.flags import Parser
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SAMPLE = os.path.join(ROOT, "data", "sample")
WIDTH = 930
SEEN = [20, 8, 34]  # of the test images of the sample
SCENE = 3


def drawn(name: str, splits: Any, rows: List[int]) -> np.ndarray:
    """What a network that comes trained attends to in some test images."""
    images = splits.test.load(np.array(rows), np.random.default_rng(0))
    raw = unnormalised(images, splits.mean, splits.std)
    (picture,) = pictures(get_model(name, pretrained=True), raw, splits.mean, splits.std).values()
    return picture


def scaled(picture: np.ndarray, width: int) -> np.ndarray:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.LANCZOS))


def front(boxes: np.ndarray) -> np.ndarray:
    """Masks beside the boxes of a run, above glimpses."""
    masks = drawn("cifar_residual_attention56_slim", cifar10(f"{SAMPLE}/cifar10"), SEEN)
    boxes = boxes[: boxes.shape[0] // 4 * 3]  # three of four images
    shares = [part.shape[1] / part.shape[0] for part in (masks, boxes)]  # they are equally high
    left = round(WIDTH * shares[0] / sum(shares))
    above = [scaled(masks, left), scaled(boxes, WIDTH - left)]
    height = max(len(part) for part in above)
    above = [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), "edge") for part in above]
    scenes = mnist(f"{SAMPLE}/mnist", task="cluttered60")
    glimpses = drawn("ram_cluttered_60", scenes, [SCENE])
    first = glimpses[: len(glimpses) // 2]  # of its two rows
    return below([np.concatenate(above, axis=1), scaled(first, WIDTH)])


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("boxes", help="boxes.png of a run of train/cub200_train.py")
    parser.add_argument("-o", "--output", default=os.path.join(ROOT, "docs", "attention.png"))
    flags = parser.parse_args()
    picture = Image.fromarray(front(load_png(flags.boxes)))
    with written_aside(flags.output) as aside:  # 256 colours are a third of the size
        picture.quantize(256, dither=Image.Dither.NONE).save(aside, "PNG", optimize=True)


if __name__ == "__main__":
    main()
