"""Painters: what a network attends to in one image, as tiles.

A painter takes a `Scene` and makes tiles of one size: first the image, then one tile for every
step of the attention. A network names its painters in `AttentionNet.painters`.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Sequence, Union

import cv2
import numpy as np
from mxnet import nd
from PIL import Image, ImageDraw

from ..errors import UserError
from ..ops.crop import snap_to_pixels
from .tiles import COLOURS, Tiles, heat, mark, paste, resize, tile

BLANK = 70  # gray of what was not looked at


class Scene(NamedTuple):
    """One image, and all that is known of how a network looked at it."""

    image: np.ndarray  # (H, W, 3) uint8
    trace: Any  # of the batch that the image is in
    index: int  # of the image in that batch
    mean: Union[float, Sequence[float]] = 0.0  # that the pixels were normalised with
    std: Union[float, Sequence[float]] = 1.0
    channel: Optional[int] = None  # the channel of masks to draw; None for the mean of all
    names: Sequence[str] = ()  # of the classes

    def values(self, array: nd.NDArray) -> np.ndarray:
        """The image's part of an array of the trace."""
        # numpy has no bfloat16, and would take its bits for a whole number.
        return array.astype("float32")[self.index].asnumpy()

    def label(self, step: int, logits: np.ndarray) -> str:
        """The class with the largest probability after a step, and that probability."""
        probabilities = nd.softmax(nd.array(logits[step])).asnumpy()
        best = probabilities.argmax()
        name = self.names[best][:18] if len(self.names) else best  # as much as fits
        return f"{step + 1}: {name} {100 * probabilities[best]:.0f} %"


Painter = Callable[[Scene], Tiles]


def mask_tiles(scene: Scene) -> Tiles:
    """Masks of a residual attention network as heat over the image, in the order of its modules.

    The label of a tile has stage and module, the size of the mask, and the values of the darkest
    and the brightest colour: masks differ so much in range that each has its own.
    """
    base = resize(scene.image)
    tiles = [tile(base, f"image {scene.image.shape[1]}x{scene.image.shape[0]}")]
    gray = _grayscale(base)
    stage, module, width = -1, 0, 0
    for mask in scene.trace.masks:
        channels, height, columns = mask.shape[1:]
        if channels != width:
            stage, module, width = stage + 1, 0, channels
        module += 1
        if scene.channel is not None and not 0 <= scene.channel < channels:
            raise UserError(f"channel must be from 0 to {channels - 1} here, not {scene.channel}")
        values = scene.values(mask)  # (C, h, w)
        values = values.mean(axis=0) if scene.channel is None else values[scene.channel]
        low, high = float(values.min()), float(values.max())
        coloured = heat(gray, (values - low) / max(high - low, 1e-6))
        tiles.append(tile(coloured, f"{'ABCDE'[stage]}{module} {columns}x{height}", (low, high)))
    return tiles


def glimpse_tiles(scene: Scene, whole_pixels: bool = False) -> Tiles:
    """Where a recurrent attention network looked, step by step, above its glimpses.

    Boxes are the patches of all scales of a glimpse, a line is the path of locations up to it. The
    label of a tile has the number of the glimpse, the class predicted after it, and how surely.

    Args:
        whole_pixels: patches were cut around the corner of pixels next to their location.
    """
    base, (height, width) = resize(scene.image), scene.image.shape[:2]
    std, mean = (np.reshape(np.asarray(n, np.float32), (-1, 1, 1)) for n in (scene.std, scene.mean))
    glimpses = scene.values(scene.trace.windows) * std + mean  # (T, K, C, g, g)
    locations = scene.values(scene.trace.locations)  # (T, 2)
    if whole_pixels:
        image = nd.zeros((1, 1, height, width))
        locations = snap_to_pixels(nd, image, nd.array(locations)).asnumpy()
    centers = (locations + 1) / 2 * (width - 1, height - 1) + 0.5  # pixels
    logits = scene.values(scene.trace.step_logits)[1:]
    blank = np.full_like(base, BLANK)
    tiles = [tile(np.concatenate([base, blank]), f"image {width}x{height}")]
    for step, (patches, center) in enumerate(zip(glimpses, centers)):
        boxes = patch_boxes(center, patches.shape[-1], len(patches)) * (base.shape[1] / width)
        view = blank.copy()
        for patch, box in list(zip(patches, boxes))[::-1]:  # the finest lies on top
            paste(view, patch, box)
        marked = mark(base, boxes, centers[: step + 1] * (base.shape[1] / width))
        tiles.append(tile(np.concatenate([marked, view]), scene.label(step, logits)))
    return tiles


def box_tiles(scene: Scene) -> Tiles:
    """The boxes of RA-CNN on the image, then the content of each of them, enlarged.

    The label of a tile has the number of the scale, the class it predicts, and how surely.
    """
    image, trace = scene.image, scene.trace
    base, (height, width) = resize(image), image.shape[:2]
    boxes = scene.values(trace.boxes) if len(trace.boxes) else []  # none at one scale
    logits = scene.values(trace.scale_logits)  # (K, classes)
    corners = [np.concatenate([box[:2] - box[2], box[:2] + box[2]]) for box in boxes]
    pixels = [(corner + 1) / 2 * ([width - 1, height - 1] * 2) for corner in corners]
    marked = Image.fromarray(base)
    draw = ImageDraw.Draw(marked)
    colours = COLOURS[np.linspace(255, 150, max(len(boxes), 1)).astype(int)]
    for box, colour in zip(pixels, colours):
        enlarged = list(map(float, (box + 0.5) * (base.shape[1] / width)))
        draw.rectangle(enlarged, outline=tuple(map(int, colour)), width=3)
    views = [np.asarray(marked)]
    for left, top, right, bottom in pixels:
        matrix = np.array([[right - left, 0, left], [0, bottom - top, top]])
        matrix[:, :2] /= np.array(base.shape[1::-1]) - 1
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views.append(cv2.warpAffine(image, matrix, base.shape[1::-1], flags=flags))
    return [tile(view, scene.label(scale, logits)) for scale, view in enumerate(views)]


def patch_tiles(scene: Scene) -> Tiles:
    """Where the glimpse network looked, its patches there, and its attention over the regions.

    Below the image with the squares of a glimpse lie its patches at their own resolution, and the
    attention that chose the location. The label of a tile has the number of the glimpse, the class
    predicted after it, and how surely.
    """
    image, trace = scene.image, scene.trace
    base, (height, width) = resize(image), image.shape[:2]
    side, squares = trace.patches.shape[-1], scene.values(trace.glimpse_boxes)  # (T, K, 3)
    attention = scene.values(trace.attention)  # (T, R, R)
    logits = scene.values(trace.step_logits)
    gray, scale = _grayscale(base), base.shape[1] / width
    blank, cell = np.full_like(base, BLANK), base.shape[1] // squares.shape[1]
    strip = np.full((cell, *base.shape[1:]), BLANK, np.uint8)
    tiles = [tile(np.concatenate([base, strip, blank]), f"image {width}x{height}")]
    centers, half = squares[..., :2], squares[..., 2:]
    corners = np.concatenate([centers - half, centers + half], axis=2)
    corners = (corners + 1) / 2 * ([width, height] * 2)  # pixels
    centers = (corners[:, 0, :2] + corners[:, 0, 2:]) / 2
    for step, boxes in enumerate(corners):
        row = strip.copy()
        for number, box in enumerate(boxes):
            patch = cv2.resize(resample_patch(image, box, side), (cell, cell))
            row[:, number * cell : (number + 1) * cell] = patch
        share = cv2.resize(attention[step], gray.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        coloured = heat(gray, share / max(share.max(), 1e-6))
        marked = mark(base, boxes * scale, centers[: step + 1] * scale)
        picture = np.concatenate([marked, row, coloured])
        tiles.append(tile(picture, scene.label(step, logits)))
    return tiles


def resample_patch(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The content of a box (left, top, right, bottom) as a small square; black outside."""
    left, top, right, bottom = box
    pitch = ((right - left) / side, (bottom - top) / side)
    finer = max(1, round(max(pitch)))  # sampled that much finer, then averaged
    matrix = np.array([[pitch[0] / finer, 0, left], [0, pitch[1] / finer, top]])
    matrix[:, 2] += matrix[:, :2].diagonal() / 2 - 0.5  # from edges to centres of pixels
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(image, matrix, (side * finer, side * finer), flags=flags)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def patch_boxes(center: np.ndarray, side: int, scales: int) -> np.ndarray:
    """Left, top, right and bottom of the patches of a glimpse around a point: (K, 4)."""
    half = side * 2.0 ** np.arange(scales)[:, None] / 2
    return np.concatenate([center - half, center + half], axis=1)


def _grayscale(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
