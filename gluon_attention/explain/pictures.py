"""Pictures and animations of what a network attends to.

The attention to one image is a list of tiles of one size: the image, then one tile for every layer
or step of the network's look. Tiles side by side are a picture, tiles in turn an animation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Sequence

import cv2
import numpy as np
from mxnet import nd
from PIL import Image, ImageDraw

from ..errors import UserError
from .looks import BLANK, Layer, Look, Scene, Step, check_channel
from .tiles import COLOURS, Tiles, below, heat, mark, resize, sheet, tile

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


def draw(scene: Scene, look: Look) -> Tiles:
    if look.layers:
        return layer_tiles(scene, look.layers)
    if len(look.steps[0].boxes):
        return step_tiles(scene, look.steps)
    return zoom_tiles(scene, look.steps)


def layer_tiles(scene: Scene, layers: Sequence[Layer]) -> Tiles:
    """Layers as heat over the image.

    The label of a tile has the name and size of the layer, and the values of its darkest and its
    brightest colour; each layer has its own range.
    """
    base = resize(scene.image)
    tiles, gray = [tile(base, _size_label(scene))], _grayscale(base)
    for name, maps in layers:
        check_channel(scene.channel, len(maps))
        values = maps.mean(axis=0) if scene.channel is None else maps[scene.channel]
        low, high = float(values.min()), float(values.max())
        coloured = heat(gray, (values - low) / max(high - low, 1e-6))
        tiles.append(tile(coloured, f"{name} {maps.shape[2]}x{maps.shape[1]}", (low, high)))
    return tiles


def step_tiles(scene: Scene, steps: Sequence[Step]) -> Tiles:
    """The boxes of each step on the image, above their content and the attention that chose them.

    A line is the path of the centres of the boxes. The label of a tile has the number of the step,
    the class predicted after it, and its probability.
    """
    base = resize(scene.image)
    gray, scale = _grayscale(base), base.shape[1] / scene.image.shape[1]
    finest = np.array([step.boxes[0] for step in steps]) * scale
    centers, pictures = (finest[:, :2] + finest[:, 2:]) / 2, []
    for number, step in enumerate(steps):
        parts = [mark(base, step.boxes * scale, centers[: number + 1])]
        parts.append(_side_by_side(step.views, base.shape[1]))
        if step.heat is not None:
            share = cv2.resize(step.heat, gray.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            parts.append(heat(gray, share / max(share.max(), 1e-6)))
        pictures.append(np.concatenate(parts))
    first = np.full_like(pictures[0], BLANK)
    first[: len(base)] = base
    labels = [scene.label(number, step.logits) for number, step in enumerate(steps)]
    return [tile(first, _size_label(scene)), *map(tile, pictures, labels)]


def zoom_tiles(scene: Scene, steps: Sequence[Step]) -> Tiles:
    """The image with all boxes, then the enlarged content of each box.

    The label of a tile has the number of the step, the predicted class, and its probability.
    """
    base = resize(scene.image)
    marked, scale = Image.fromarray(base), base.shape[1] / scene.image.shape[1]
    pen, colours = ImageDraw.Draw(marked), np.linspace(255, 150, max(len(steps) - 1, 1)).astype(int)
    for step, colour in zip(steps[1:], COLOURS[colours]):
        edges = list(map(float, step.boxes[0] * scale))
        pen.rectangle(edges, outline=tuple(map(int, colour)), width=3)
    views = [np.asarray(marked), *(step.views[0] for step in steps[1:])]
    labels = [scene.label(number, step.logits) for number, step in enumerate(steps)]
    return list(map(tile, views, labels))


def _side_by_side(views: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Pictures of one size as a row of that width."""
    cell = width // len(views)
    height = round(views[0].shape[0] * cell / views[0].shape[1])
    row = np.full((height, width, 3), BLANK, np.uint8)
    for number, view in enumerate(views):
        row[:, number * cell : (number + 1) * cell] = cv2.resize(view, (cell, height))
    return row


def _size_label(scene: Scene) -> str:
    return f"image {scene.image.shape[1]}x{scene.image.shape[0]}"


def _grayscale(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
