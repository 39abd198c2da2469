"""Pictures and animations of what a network attends to.

Tiles side by side are a picture, tiles in turn are an animation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Sequence

import numpy as np
from mxnet import nd

from ..errors import UserError
from .looks import Scene
from .painters import draw
from .tiles import Tiles, below, sheet

if TYPE_CHECKING:
    from ..zoo.attention_net import AttentionNet


def denormalise(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Pictures (N, H, W, C) uint8 from normalised images (N, C, H, W)."""
    pixels = images.transpose(0, 2, 3, 1) * np.asarray(std) + np.asarray(mean)
    return np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)


def picture(rows: Sequence[Tiles]) -> np.ndarray:
    """Tiles of some images, one image below the other: (H, W, 3) uint8."""
    return below([sheet(tiles) for tiles in rows])


def animation(rows: Sequence[Tiles]) -> Tiles:
    """Frames, one for each step of the attention, with the images beside it."""
    return [
        below([sheet([row[0], *row[step : step + 1]]) for row in rows])
        for step in range(1, max(2, len(rows[0])))
    ]


def paint(
    net: AttentionNet,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> List[Tiles]:
    """Tiles of each image; the arguments are those of `scenes_of`, and `net` has a `look`."""
    scenes = scenes_of(net, images, mean, std, channel, names)
    return [draw(scene, net.look(scene)) for scene in scenes]


def scenes_of(
    net: AttentionNet,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> List[Scene]:
    """The scenes of raw images (N, H, W, 3 or 1) uint8.

    Args:
        mean, std: of pixel / 255, as in training; if they have one channel, images become gray.
        channel: one channel of every mask instead of the mean of all.
        names: of the classes.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            "pictures are drawn on images of type uint8 and shape (N, H, W, 3), or (N, H, W, 1) if "
            f"they are gray, not {images.dtype} {images.shape}"
        )
    pixels = images.mean(axis=3, keepdims=True) if len(mean) == 1 else images
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    normalised = (pixels / 255.0 - np.asarray(mean)) / np.asarray(std)
    trace = net.trace(nd.array(normalised.transpose(0, 3, 1, 2), ctx=net.device))
    return [
        Scene(image, trace, index, mean, std, channel, names) for index, image in enumerate(images)
    ]
