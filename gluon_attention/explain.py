"""Pictures of what a network attends to, drawn from what its trace exposes.

A painter makes tiles of one size for one image: first the image, then one tile for every step of
the attention. Tiles side by side are a picture, tiles in turn are an animation.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from mxnet import nd
from PIL import Image, ImageDraw, ImageFont

from .errors import UserError
from .files import written_aside

Tiles = List[np.ndarray]  # (H, W, 3) uint8, all of one size

SMALLEST, LARGEST = 160, 256  # longer side of an image in a tile
BAND, GAP, COLUMNS = 20, 4, 7
COLOURS = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]


def pictures(
    net: Any,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channel: Optional[int] = None,
) -> Dict[str, np.ndarray]:
    """`{name: (H, W, 3) uint8}` for raw images (N, H, W, 3 or 1) uint8, one below the other.

    `mean` and `std` are those the network was trained with, in units of pixel / 255. `channel`
    picks one channel of every mask instead of the mean of all.
    """
    painted = _paint(net, images, mean, std, channel)
    return {name: _below([_sheet(tiles) for tiles in rows]) for name, rows in painted.items()}


def animations(
    net: Any,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channel: Optional[int] = None,
) -> Dict[str, Tiles]:
    """The same as frames, one for every step of the attention, with the images beside it."""
    painted = _paint(net, images, mean, std, channel)
    return {
        name: [
            _below([_sheet([row[0], row[step]]) for row in rows]) for step in range(1, len(rows[0]))
        ]
        for name, rows in painted.items()
    }


def mask_tiles(image: np.ndarray, trace: Any, index: int, channel: Optional[int] = None) -> Tiles:
    """Masks of a residual attention network as heat over the image, in the order of its modules.

    A tile says stage and module, the size of the mask, and the values of the darkest and the
    brightest colour: masks differ so much in range that each has its own.
    """
    base = _resize(image)
    tiles = [_tile(base, f"image {image.shape[1]}x{image.shape[0]}")]
    gray = np.repeat(cv2.cvtColor(base, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    stage, module, width = -1, 0, 0
    for mask in trace.masks:
        channels, height, columns = mask.shape[1:]
        if channels != width:
            stage, module, width = stage + 1, 0, channels
        module += 1
        if channel is not None and not 0 <= channel < channels:
            raise UserError(f"channel must be from 0 to {channels - 1} here, not {channel}")
        values = mask[index].asnumpy().astype(np.float32)  # (C, h, w)
        values = values.mean(axis=0) if channel is None else values[channel]
        low, high = float(values.min()), float(values.max())
        heat = _heat(gray, (values - low) / max(high - low, 1e-6))
        tiles.append(_tile(heat, f"{'ABCDE'[stage]}{module} {columns}x{height}", (low, high)))
    return tiles


def glimpse_tiles(
    image: np.ndarray, trace: Any, index: int, channel: Optional[int] = None
) -> Tiles:
    """Where a recurrent attention network looked, step by step, above what its retina saw there.

    Boxes are the windows of all scales around a glimpse, a line is the way that led to it. A tile
    says which glimpse it is, what the network would have answered after it, and how surely.
    """
    base, (height, width) = _resize(image), image.shape[:2]
    windows = trace.windows[index].asnumpy()  # (T, K, C, g, g)
    middles = (trace.locations[index].asnumpy() + 1) / 2 * (width - 1, height - 1) + 0.5  # pixels
    answers = nd.softmax(trace.step_logits[index, 1:]).asnumpy()
    blank = np.full_like(base, 70)  # what was not seen is gray
    tiles = [_tile(np.concatenate([base, blank]), f"image {width}x{height}")]
    for step, (seen, middle) in enumerate(zip(windows, middles)):
        boxes = _boxes(middle, seen.shape[-1], len(seen)) * (base.shape[1] / width)
        view = blank.copy()
        for patch, box in list(zip(seen, boxes))[::-1]:  # the finest lies on top
            _paste(view, patch, box)
        marked = _mark(base, boxes, middles[: step + 1] * (base.shape[1] / width))
        best = answers[step].argmax()
        label = f"{step + 1}: {best} {100 * answers[step, best]:.0f} %"
        tiles.append(_tile(np.concatenate([marked, view]), label))
    return tiles


def box_tiles(image: np.ndarray, trace: Any, index: int, channel: Optional[int] = None) -> Tiles:
    """The boxes of RA-CNN on the image, then what each of them holds, enlarged.

    A tile says which scale it is, its answer and how sure it is of it.
    """
    base, (height, width) = _resize(image), image.shape[:2]
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
    best = answers.argmax(axis=1)
    return [
        _tile(view, f"{scale + 1}: {best[scale]} {100 * answers[scale, best[scale]]:.0f} %")
        for scale, view in enumerate(views)
    ]


# What a trace exposes decides what is drawn: field of the trace -> painter(image, trace, index).
PAINTERS: Dict[str, Callable[..., Tiles]] = {
    "masks": mask_tiles,
    "windows": glimpse_tiles,
    "boxes": box_tiles,
}


def save_png(path: str, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8."""
    with written_aside(path) as aside:
        Image.fromarray(picture).save(aside, format="PNG")


def load_png(path: str) -> np.ndarray:
    """A picture as `save_png` took it."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def save_gif(path: str, frames: Tiles, seconds: float = 0.8) -> None:
    """Write frames of one size as an endless animation."""
    with written_aside(path) as aside:
        first, *rest = [Image.fromarray(frame) for frame in frames]
        first.save(
            aside, "GIF", save_all=True, append_images=rest, duration=int(seconds * 1000), loop=0
        )


def _paint(
    net: Any,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channel: Optional[int],
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
    read = images.mean(axis=3, keepdims=True) if len(mean) == 1 else images
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    scaled = (read / 255.0 - np.asarray(mean)) / np.asarray(std)
    device = next(iter(net.collect_params().values())).list_ctx()[0]
    trace = net.trace(nd.array(scaled.transpose(0, 3, 1, 2), ctx=device))
    return {
        name: [paint(image, trace, index, channel) for index, image in enumerate(images)]
        for name, paint in PAINTERS.items()
        if name in trace._fields
    }


def _boxes(middle: np.ndarray, side: int, scales: int) -> np.ndarray:
    """Left, top, right and bottom of the windows around a point: (K, 4)."""
    reach = side * 2.0 ** np.arange(scales)[:, None] / 2
    return np.concatenate([middle - reach, middle + reach], axis=1)


def _paste(view: np.ndarray, patch: np.ndarray, box: np.ndarray) -> None:
    """Show pixels (C, g, g) of a normalised image where they were seen, as coarse as they were."""
    left, top, right, bottom = np.rint(box).astype(int)
    shown = np.clip(patch * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    shown = cv2.resize(shown, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    shown = shown.reshape(bottom - top, right - left, -1)
    height, width = view.shape[:2]
    part = shown[max(-top, 0) : height - top, max(-left, 0) : width - left]
    view[max(top, 0) : bottom, max(left, 0) : right] = part


def _mark(base: np.ndarray, boxes: np.ndarray, way: np.ndarray) -> np.ndarray:
    """The image with boxes and the way to the middle of the last glimpse."""
    picture = Image.fromarray(base)
    draw = ImageDraw.Draw(picture)
    colours = COLOURS[np.linspace(255, 100, len(boxes)).astype(int)]
    for box, colour in zip(boxes, colours):
        draw.rectangle(list(map(float, box)), outline=tuple(map(int, colour)), width=2)
    draw.line([tuple(map(float, point)) for point in way], fill=(255, 80, 60), width=2)
    x, y = way[-1]
    draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=(255, 80, 60))
    return np.asarray(picture)


def _resize(image: np.ndarray) -> np.ndarray:
    """Small images grow by a whole factor, so that their pixels stay square and sharp."""
    side = max(image.shape[:2])
    if side > LARGEST:
        size = [max(1, round(n * LARGEST / side)) for n in image.shape[1::-1]]
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    factor = -(-SMALLEST // side)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _heat(gray: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] of any size as colours over a gray image, which shines through."""
    values = cv2.resize(values, gray.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colours = COLOURS[np.rint(values * 255).astype(np.uint8)]
    return np.rint(colours * (0.5 + 0.5 * gray / 255)).astype(np.uint8)


def _tile(
    picture: np.ndarray, label: str, span: Optional[Tuple[float, float]] = None
) -> np.ndarray:
    """The picture under a band with its label and, where colours have a span, their scale."""
    font = ImageFont.load_default(12)
    width = max(picture.shape[1], SMALLEST)
    tile = Image.new("RGB", (width, picture.shape[0] + BAND), "white")
    tile.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, BAND))
    draw = ImageDraw.Draw(tile)
    draw.text((2, BAND // 2), label, fill="black", font=font, anchor="lm")
    if span is not None:
        low, high = (f"{value:.2f}" for value in span)
        draw.text((width - 2, BAND // 2), high, fill="black", font=font, anchor="rm")
        right = width - 5 - int(font.getlength(high))
        scale = np.repeat(COLOURS[None, ::8], BAND - 10, axis=0)  # 32 pixels wide
        tile.paste(Image.fromarray(np.ascontiguousarray(scale)), (right - 32, 5))
        draw.text((right - 35, BAND // 2), low, fill="black", font=font, anchor="rm")
    return np.asarray(tile)


def _sheet(tiles: Tiles) -> np.ndarray:
    """Tiles in rows, at most `COLUMNS` in one, on white."""
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + GAP), columns * (width + GAP), 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _below(sheets: Tiles) -> np.ndarray:
    return np.concatenate(sheets, axis=0)
