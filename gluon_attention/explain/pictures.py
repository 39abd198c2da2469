"""Pictures and animations of what a network attends to, by the painters that it names.

Tiles side by side are a picture, tiles in turn are an animation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Set, Union

import numpy as np
from mxnet import nd

from ..errors import UserError
from .scene import Scene
from .tiles import Tiles, below, sheet

if TYPE_CHECKING:
    from ..zoo.attention_net import AttentionNet

Numbers = Union[float, Sequence[float]]  # one for all channels, or one for each


def denormalise(images: np.ndarray, mean: Numbers, std: Numbers) -> np.ndarray:
    """Pictures (N, H, W, C) uint8 from normalised images (N, C, H, W)."""
    _lengths(mean, std, images.shape[1])
    pixels = images.transpose(0, 2, 3, 1) * np.asarray(std) + np.asarray(mean)
    return np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)


def pictures(
    net: AttentionNet,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Dict[str, np.ndarray]:
    """`{name: (H, W, 3) uint8}` for raw images (N, H, W, 3 or 1) uint8, one below the other.

    Args:
        net: its `painters` draw, and name, the pictures.
        mean, std: those the network was trained with, in units of pixel / 255: a number for all
            channels of the images, or a sequence, of which one of length 1 makes them gray.
        channel: one channel of every mask instead of the mean of all.
        names: of the classes.
    """
    painted = paint(net, images, mean, std, channel, names)
    return {name: below([sheet(tiles) for tiles in rows]) for name, rows in painted.items()}


def animations(
    net: AttentionNet,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Dict[str, Tiles]:
    """The same as frames, one for every step of the attention, with the images beside it."""
    painted = paint(net, images, mean, std, channel, names)
    return {
        name: [
            below([sheet([row[0], *row[step : step + 1]]) for row in rows])
            for step in range(1, max(2, len(rows[0])))
        ]
        for name, rows in painted.items()
    }


def paint(
    net: AttentionNet,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Dict[str, List[Tiles]]:
    """`{name: tiles of each image}`; the arguments are those of `pictures`."""
    scenes = scenes_of(net, images, mean, std, channel, names)
    return {name: [draw(scene) for scene in scenes] for name, draw in net.painters.items()}


def scenes_of(
    net: AttentionNet,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> List[Scene]:
    """How the network looks at each image; the arguments are those of `pictures`."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            "pictures are drawn on images of type uint8 and shape (N, H, W, 3), or (N, H, W, 1) if "
            f"they are gray, not {images.dtype} {images.shape}"
        )
    gray = _lengths(mean, std, 3) == {1}
    pixels = images.mean(axis=3, keepdims=True) if gray else images
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    normalised = (pixels / 255.0 - np.asarray(mean)) / np.asarray(std)
    trace = net.trace(nd.array(normalised.transpose(0, 3, 1, 2), ctx=net.device))
    return [
        Scene(image, trace, index, mean, std, channel, names) for index, image in enumerate(images)
    ]


def _lengths(mean: Numbers, std: Numbers, channels: int) -> Set[int]:
    """Lengths of the sequences that normalise so many channels; empty for two numbers."""
    lengths = {np.size(values) for values in (mean, std) if np.ndim(values)}
    if not lengths <= {1, channels} or len(lengths) > 1:
        raise UserError(
            f"mean {mean} and std {std} do not go with {channels} channels; give a number, or "
            "sequences as long as there are channels, or of length 1"
        )
    return lengths
