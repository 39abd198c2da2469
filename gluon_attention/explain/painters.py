"""Painters: what a network attends to in one image, as tiles.

A painter takes a `Scene` and makes tiles of one size: first the image, then one tile for every
step of the attention. A network names its painters in `AttentionNet.painters`.
"""

from __future__ import annotations

from typing import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from .looks import (
    glimpses_of,
    module_names,
    patch_corners,
    resample_patch,
    retina,
    scale_boxes,
    zoom,
)
from .scene import BLANK, Scene
from .tiles import COLOURS, Tiles, heat, mark, resize, tile

Painter = Callable[[Scene], Tiles]


def mask_tiles(scene: Scene) -> Tiles:
    """Masks of a residual attention network as heat over the image, in the order of its modules.

    The label of a tile has stage and module, the size of the mask, and the values of the darkest
    and the brightest colour: masks differ so much in range that each has its own.
    """
    base = resize(scene.image)
    tiles = [tile(base, f"image {scene.image.shape[1]}x{scene.image.shape[0]}")]
    gray = _grayscale(base)
    for name, mask in zip(module_names(scene.trace.masks), scene.trace.masks):
        channels, height, columns = mask.shape[1:]
        if scene.channel is not None and not 0 <= scene.channel < channels:
            raise UserError(f"channel must be from 0 to {channels - 1} here, not {scene.channel}")
        values = scene.values(mask)  # (C, h, w)
        values = values.mean(axis=0) if scene.channel is None else values[scene.channel]
        low, high = float(values.min()), float(values.max())
        coloured = heat(gray, (values - low) / max(high - low, 1e-6))
        tiles.append(tile(coloured, f"{name} {columns}x{height}", (low, high)))
    return tiles


def glimpse_tiles(scene: Scene, whole_pixels: bool = False) -> Tiles:
    """Where a recurrent attention network looked, step by step, above its glimpses.

    Boxes are the patches of all scales of a glimpse, a line is the path of locations up to it. The
    label of a tile has the number of the glimpse, the class predicted after it, and how surely.

    Args:
        whole_pixels: patches were cut around the corner of pixels next to their location.
    """
    base, (height, width) = resize(scene.image), scene.image.shape[:2]
    glimpses, boxes = glimpses_of(scene, whole_pixels)
    boxes = boxes * (base.shape[1] / width)
    centers = (boxes[:, 0, :2] + boxes[:, 0, 2:]) / 2
    logits = scene.values(scene.trace.step_logits)[1:]
    tiles = [tile(np.concatenate([base, np.full_like(base, BLANK)]), f"image {width}x{height}")]
    for step, (patches, squares) in enumerate(zip(glimpses, boxes)):
        view = retina(base, patches, squares)
        marked = mark(base, squares, centers[: step + 1])
        tiles.append(tile(np.concatenate([marked, view]), scene.label(step, logits)))
    return tiles


def box_tiles(scene: Scene) -> Tiles:
    """The boxes of RA-CNN on the image, then the content of each of them, enlarged.

    The label of a tile has the number of the scale, the class it predicts, and how surely.
    """
    base, boxes = resize(scene.image), scale_boxes(scene)
    logits = scene.values(scene.trace.scale_logits)  # (K, classes)
    marked = Image.fromarray(base)
    draw = ImageDraw.Draw(marked)
    colours = COLOURS[np.linspace(255, 150, max(len(boxes), 1)).astype(int)]
    for box, colour in zip(boxes, colours):
        enlarged = list(map(float, (box + 0.5) * (base.shape[1] / scene.image.shape[1])))
        draw.rectangle(enlarged, outline=tuple(map(int, colour)), width=3)
    views = [np.asarray(marked)]
    views += [zoom(scene.image, box, base.shape[1::-1]) for box in boxes]
    return [tile(view, scene.label(scale, logits)) for scale, view in enumerate(views)]


def patch_tiles(scene: Scene) -> Tiles:
    """Where the glimpse network looked, its patches there, and its attention over the regions.

    Below the image with the squares of a glimpse lie its patches at their own resolution, and the
    attention that chose the location. The label of a tile has the number of the glimpse, the class
    predicted after it, and how surely.
    """
    image, trace = scene.image, scene.trace
    base, (height, width) = resize(image), image.shape[:2]
    side, corners = trace.patches.shape[-1], patch_corners(scene)  # (T, K, 4)
    attention = scene.values(trace.attention)  # (T, R, R)
    logits = scene.values(trace.step_logits)
    gray, scale = _grayscale(base), base.shape[1] / width
    blank, cell = np.full_like(base, BLANK), base.shape[1] // corners.shape[1]
    strip = np.full((cell, *base.shape[1:]), BLANK, np.uint8)
    tiles = [tile(np.concatenate([base, strip, blank]), f"image {width}x{height}")]
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


def _grayscale(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
