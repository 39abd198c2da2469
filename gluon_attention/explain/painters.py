"""Pictures of what a network attends to, drawn from what its trace exposes.

A painter makes tiles of one size for one image: first the image, then one tile for every step of
the attention. Tiles side by side are a picture, tiles in turn are an animation.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Union

import cv2
import numpy as np
from mxnet import nd
from PIL import Image, ImageDraw

from ..errors import UserError
from ..ops.crop import between_pixels
from .tiles import (
    BAND,
    COLOURS,
    GAP,
    Tiles,
    below,
    heat,
    load_png,
    mark,
    paste,
    resize,
    save_gif,
    save_png,
    sheet,
    tile,
)

__all__ = ["BAND", "COLOURS", "GAP", "PAINTERS", "Tiles", "animations", "load_png", "pictures"]
__all__ += ["save_gif", "save_png", "unnormalised"]

Numbers = Union[float, Sequence[float]]  # one for all channels, or one for each


def unnormalised(images: np.ndarray, mean: Numbers, std: Numbers) -> np.ndarray:
    """Pictures (N, H, W, C) of uint8 from what a network is given of them, (N, C, H, W)."""
    _lengths(mean, std, images.shape[1])
    pixels = images.transpose(0, 2, 3, 1) * np.asarray(std) + np.asarray(mean)
    return np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8)


def pictures(
    net: Any,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Dict[str, np.ndarray]:
    """`{name: (H, W, 3) uint8}` for raw images (N, H, W, 3 or 1) uint8, one below the other.

    `mean` and `std` are those the network was trained with, in units of pixel / 255: a number for
    all channels of the images, or a sequence, of which one of length 1 makes them gray. `channel`
    picks one channel of every mask instead of the mean of all; `names` are those of the classes.
    """
    painted = _paint(net, images, mean, std, channel, names)
    return {name: below([sheet(tiles) for tiles in rows]) for name, rows in painted.items()}


def animations(
    net: Any,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Dict[str, Tiles]:
    """The same as frames, one for every step of the attention, with the images beside it."""
    painted = _paint(net, images, mean, std, channel, names)
    return {
        name: [
            below([sheet([row[0], *row[step : step + 1]]) for row in rows])
            for step in range(1, max(2, len(rows[0])))
        ]
        for name, rows in painted.items()
    }


def mask_tiles(
    image: np.ndarray,
    trace: Any,
    index: int,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Tiles:
    """Masks of a residual attention network as heat over the image, in the order of its modules.

    A tile says stage and module, the size of the mask, and the values of the darkest and the
    brightest colour: masks differ so much in range that each has its own.
    """
    base = resize(image)
    tiles = [tile(base, f"image {image.shape[1]}x{image.shape[0]}")]
    gray = np.repeat(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    stage, module, width = -1, 0, 0
    for mask in trace.masks:
        channels, height, columns = mask.shape[1:]
        if channels != width:
            stage, module, width = stage + 1, 0, channels
        module += 1
        if channel is not None and not 0 <= channel < channels:
            raise UserError(f"channel must be from 0 to {channels - 1} here, not {channel}")
        # numpy has no bfloat16, and would take its bits for a whole number.
        values = mask.astype("float32")[index].asnumpy()  # (C, h, w)
        values = values.mean(axis=0) if channel is None else values[channel]
        low, high = float(values.min()), float(values.max())
        shown = heat(gray, (values - low) / max(high - low, 1e-6))
        tiles.append(tile(shown, f"{'ABCDE'[stage]}{module} {columns}x{height}", (low, high)))
    return tiles


def glimpse_tiles(
    image: np.ndarray,
    trace: Any,
    index: int,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Tiles:
    """Where a recurrent attention network looked, step by step, above what its retina saw there.

    Boxes are the windows of all scales around a glimpse, a line is the way that led to it. A tile
    says which glimpse it is, what the network would have answered after it, and how surely.
    """
    base, (height, width) = resize(image), image.shape[:2]
    windows = trace.windows[index].asnumpy()  # (T, K, C, g, g)
    middles = (trace.locations[index].asnumpy() + 1) / 2 * (width - 1, height - 1) + 0.5  # pixels
    answers = nd.softmax(trace.step_logits[index, 1:]).asnumpy()
    blank = np.full_like(base, 70)  # what was not seen is gray
    tiles = [tile(np.concatenate([base, blank]), f"image {width}x{height}")]
    for step, (seen, middle) in enumerate(zip(windows, middles)):
        boxes = _boxes(middle, seen.shape[-1], len(seen)) * (base.shape[1] / width)
        view = blank.copy()
        for patch, box in list(zip(seen, boxes))[::-1]:  # the finest lies on top
            paste(view, patch, box)
        marked = mark(base, boxes, middles[: step + 1] * (base.shape[1] / width))
        tiles.append(tile(np.concatenate([marked, view]), _answer(step, answers, names)))
    return tiles


def box_tiles(
    image: np.ndarray,
    trace: Any,
    index: int,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Tiles:
    """The boxes of RA-CNN on the image, then what each of them holds, enlarged.

    A tile says which scale it is, its answer and how sure it is of it.
    """
    base, (height, width) = resize(image), image.shape[:2]
    boxes = trace.boxes[index].asnumpy() if len(trace.boxes) else []  # none at one scale
    answers = nd.softmax(trace.scale_logits[index]).asnumpy()  # (K, classes)
    corners = [np.concatenate([box[:2] - box[2], box[:2] + box[2]]) for box in boxes]
    pixels = [(corner + 1) / 2 * ([width - 1, height - 1] * 2) for corner in corners]
    marked = Image.fromarray(base)
    draw = ImageDraw.Draw(marked)
    colours = COLOURS[np.linspace(255, 150, max(len(boxes), 1)).astype(int)]
    for box, colour in zip(pixels, colours):
        grown = list(map(float, (box + 0.5) * (base.shape[1] / width)))
        draw.rectangle(grown, outline=tuple(map(int, colour)), width=3)
    views = [np.asarray(marked)]
    for left, top, right, bottom in pixels:
        scale = np.array([[right - left, 0, left], [0, bottom - top, top]])
        scale[:, :2] /= np.array(base.shape[1::-1]) - 1
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views.append(cv2.warpAffine(image, scale, base.shape[1::-1], flags=flags))
    return [tile(view, _answer(scale, answers, names)) for scale, view in enumerate(views)]


def patch_tiles(
    image: np.ndarray,
    trace: Any,
    index: int,
    channel: Optional[int] = None,
    names: Sequence[str] = (),
) -> Tiles:
    """Where the glimpse network looked, what it saw there, and its attention over the regions.

    Below the image with the squares of a glimpse lie its patches, as coarse as they were seen, and
    the attention that chose the place. A tile says which glimpse it is and the answer after it.
    """
    base, (height, width) = resize(image), image.shape[:2]
    side = trace.patches.shape[-1]
    squares = trace.glimpse_boxes[index].asnumpy()  # (T, K, 3)
    shares = trace.attention[index].asnumpy()  # (T, R, R)
    answers = nd.softmax(trace.step_logits[index]).asnumpy()
    gray = np.repeat(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    grow = base.shape[1] / width
    blank, cell = np.full_like(base, 70), base.shape[1] // squares.shape[1]
    strip = np.full((cell, *base.shape[1:]), 70, np.uint8)
    tiles = [tile(np.concatenate([base, strip, blank]), f"image {width}x{height}")]
    centers, half = squares[..., :2], squares[..., 2:]
    corners = np.concatenate([centers - half, centers + half], axis=2)
    corners = (corners + 1) / 2 * ([width, height] * 2)  # pixels
    way = (corners[:, 0, :2] + corners[:, 0, 2:]) / 2
    for step, boxes in enumerate(corners):
        seen = strip.copy()
        for number, box in enumerate(boxes):
            patch = cv2.resize(_seen(image, box, side), (cell, cell))
            seen[:, number * cell : (number + 1) * cell] = patch
        share = cv2.resize(shares[step], gray.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        over = heat(gray, share / max(share.max(), 1e-6))
        marked = mark(base, boxes * grow, way[: step + 1] * grow)
        tiles.append(tile(np.concatenate([marked, seen, over]), _answer(step, answers, names)))
    return tiles


def _answer(step: int, answers: np.ndarray, names: Sequence[str]) -> str:
    """What the network would have said after a step, and how surely."""
    best = answers[step].argmax()
    name = names[best][:18] if len(names) else best  # as much as fits
    return f"{step + 1}: {name} {100 * answers[step, best]:.0f} %"


def _seen(image: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """What lies between corners (left, top, right, bottom) as a small square; black outside."""
    left, top, right, bottom = corner
    pitch = ((right - left) / side, (bottom - top) / side)
    grown = max(1, round(max(pitch)))  # sampled that much finer, then averaged
    scale = np.array([[pitch[0] / grown, 0, left], [0, pitch[1] / grown, top]])
    scale[:, 2] += scale[:, :2].diagonal() / 2 - 0.5  # middles of pixels
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(image, scale, (side * grown, side * grown), flags=flags)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


# What a trace exposes decides what is drawn. A painter takes an image (H, W, 3) uint8, the trace of
# its batch, its index in that, the one channel of masks to show, and the names of the classes.
PAINTERS: Dict[str, Callable[..., Tiles]] = {
    "masks": mask_tiles,
    "windows": glimpse_tiles,
    "boxes": box_tiles,
    "patches": patch_tiles,
}


def _paint(
    net: Any,
    images: np.ndarray,
    mean: Numbers,
    std: Numbers,
    channel: Optional[int],
    names: Sequence[str],
) -> Dict[str, List[Tiles]]:
    """`{name: tiles of each image}`."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            "pictures are drawn on images of type uint8 and shape (N, H, W, 3), or (N, H, W, 1) if "
            f"they are gray, not {images.dtype} {images.shape}"
        )
    gray = _lengths(mean, std, 3) == {1}
    read = images.mean(axis=3, keepdims=True) if gray else images
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    scaled = (read / 255.0 - np.asarray(mean)) / np.asarray(std)
    device = next(iter(net.collect_params().values())).list_ctx()[0]
    given = nd.array(scaled.transpose(0, 3, 1, 2), ctx=device)
    trace = net.trace(given)
    if "windows" in trace._fields:
        trace = _as_seen(net, trace, given, mean, std)
    return {
        name: [paint(image, trace, index, channel, names) for index, image in enumerate(images)]
        for name, paint in PAINTERS.items()
        if name in trace._fields
    }


def _as_seen(net: Any, trace: Any, images: nd.NDArray, mean: Numbers, std: Numbers) -> Any:
    """A trace of glimpses with the pixels as they were, where they were looked at."""
    scale, shift = (
        np.reshape(np.asarray(values, np.float32), (-1, 1, 1)) for values in (std, mean)
    )
    trace = trace._replace(windows=nd.array(trace.windows.asnumpy() * scale + shift))
    if not net.body.rounds:
        return trace
    steps = [between_pixels(nd, images, place) for place in trace.locations.swapaxes(0, 1)]
    return trace._replace(locations=nd.stack(*steps, axis=1))


def _lengths(mean: Numbers, std: Numbers, channels: int) -> Set[int]:
    """How long sequences are that normalise so many channels; empty for two numbers."""
    lengths = {np.size(values) for values in (mean, std) if np.ndim(values)}
    if not lengths <= {1, channels} or len(lengths) > 1:
        raise UserError(
            f"mean {mean} and std {std} do not go with {channels} channels; give a number, or "
            "sequences as long as there are channels, or of length 1"
        )
    return lengths


def _boxes(middle: np.ndarray, side: int, scales: int) -> np.ndarray:
    """Left, top, right and bottom of the windows around a point: (K, 4)."""
    reach = side * 2.0 ** np.arange(scales)[:, None] / 2
    return np.concatenate([middle - reach, middle + reach], axis=1)
