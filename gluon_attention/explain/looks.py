"""The attention to one image as numbers: maps over the image, and steps of a path over it.

`pictures` and `page` display them. `AttentionNet.look` is the function that computes them.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
from mxnet import nd

from ..errors import UserError
from ..ops.crop import snap_to_pixels
from .tiles import paste, resize

BLANK = 70  # gray level of unseen pixels


class Scene(NamedTuple):
    """One image, and the trace of a network on it."""

    image: np.ndarray  # (H, W, 3) uint8
    trace: Any  # of the batch that the image is in
    index: int  # of the image in that batch
    mean: Sequence[float] = (0.0,)  # that the pixels were normalised with
    std: Sequence[float] = (1.0,)
    channel: Optional[int] = None  # the channel of masks to draw; None for the mean of all
    names: Sequence[str] = ()  # of the classes

    def values(self, array: nd.NDArray) -> np.ndarray:
        """The image's part of an array of the trace."""
        # numpy has no bfloat16 and would read its bits as integers.
        return array.astype("float32")[self.index].asnumpy()

    def label(self, step: int, logits: np.ndarray) -> str:
        """The class with the largest probability after a step, and that probability."""
        probabilities = nd.softmax(nd.array(logits)).asnumpy()
        best = probabilities.argmax()
        name = self.names[best][:18] if len(self.names) else best  # as much as fits
        return f"{step + 1}: {name} {100 * probabilities[best]:.0f} %"


class Layer(NamedTuple):
    """A map over the image for each channel."""

    name: str
    values: np.ndarray  # (C, h, w)


class Step(NamedTuple):
    """One step of a path over the image."""

    logits: np.ndarray  # (classes,), after the step
    boxes: np.ndarray  # (K, 4): left, top, right and bottom in pixels, the finest first; or whole
    views: Sequence[np.ndarray]  # the inputs of the step, (H, W, 3) uint8 each
    heat: Optional[np.ndarray] = None  # (h, w), attention that chose the boxes


class Look(NamedTuple):
    """The layers and the steps of an image; one of the two may be empty."""

    layers: Sequence[Layer]
    steps: Sequence[Step]


LookOf = Callable[[Scene], Look]


def check_channel(channel: Optional[int], count: int) -> None:
    if channel is not None and not 0 <= channel < count:
        raise UserError(f"channel must be from 0 to {count - 1} here, not {channel}")


def mask_look(scene: Scene) -> Look:
    """Masks of a residual attention network, in the order of its modules."""
    names = module_names(scene.trace.masks)
    masks = [scene.values(mask) for mask in scene.trace.masks]
    return Look([Layer(name, mask) for name, mask in zip(names, masks)], [])


def glimpse_look(scene: Scene, whole_pixels: bool = False) -> Look:
    """The glimpses of a recurrent attention network, each with the patches that it read.

    Args:
        whole_pixels: whether patches are cut around the pixel corner next to their location.
    """
    glimpses, boxes = glimpses_of(scene, whole_pixels)
    logits = scene.values(scene.trace.step_logits)[1:]
    base = resize(scene.image)
    scale = base.shape[1] / scene.image.shape[1]
    return Look(
        [],
        [
            Step(after, squares, [retina(base, patches, squares * scale)])
            for after, squares, patches in zip(logits, boxes, glimpses)
        ],
    )


def box_look(scene: Scene) -> Look:
    """The scales of RA-CNN: the image, then the content of one box after the other."""
    logits = scene.values(scene.trace.scale_logits)  # (K, classes)
    base, boxes = resize(scene.image), scale_boxes(scene)
    steps = [Step(logits[0], np.zeros((0, 4)), [base])]
    for after, box in zip(logits[1:], boxes):
        view = zoom(scene.image, box, base.shape[1::-1])
        steps.append(Step(after, (box + 0.5)[None], [view]))
    return Look([], steps)


def patch_look(scene: Scene) -> Look:
    """The glimpses of the glimpse network, with the attention that chose them."""
    side, boxes = scene.trace.patches.shape[-1], patch_corners(scene)
    attention, logits = (scene.values(a) for a in (scene.trace.attention, scene.trace.step_logits))
    return Look(
        [],
        [
            Step(after, squares, [resample_patch(scene.image, box, side) for box in squares], heat)
            for after, squares, heat in zip(logits, boxes, attention)
        ],
    )


def module_names(masks: Sequence[Any]) -> Iterator[str]:
    """Stage and number of each attention module: A1, B1, B2; stages differ in channels."""
    stage, module, width = -1, 0, 0
    for mask in masks:
        if mask.shape[1] != width:
            stage, module, width = stage + 1, 0, mask.shape[1]
        module += 1
        yield f"{'ABCDE'[stage]}{module}"


def glimpses_of(scene: Scene, whole_pixels: bool) -> Any:
    """Patches (T, K, C, g, g) of 0 to 1, and their boxes in pixels (T, K, 4)."""
    height, width = scene.image.shape[:2]
    std, mean = (np.reshape(np.asarray(n, np.float32), (-1, 1, 1)) for n in (scene.std, scene.mean))
    glimpses = scene.values(scene.trace.windows) * std + mean
    locations = scene.values(scene.trace.locations)  # (T, 2)
    if whole_pixels:
        image = nd.zeros((1, 1, height, width))
        locations = snap_to_pixels(nd, image, nd.array(locations)).asnumpy()
    centers = (locations + 1) / 2 * (width - 1, height - 1) + 0.5
    scales, side = glimpses.shape[1], glimpses.shape[-1]
    return glimpses, np.stack([patch_boxes(center, side, scales) for center in centers])


def retina(base: np.ndarray, patches: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The patches of a glimpse at their positions on a blank picture as large as `base`."""
    view = np.full_like(base, BLANK)
    for patch, box in list(zip(patches, boxes))[::-1]:  # the finest lies on top
        paste(view, patch, box)
    return view


def scale_boxes(scene: Scene) -> List[np.ndarray]:
    """The boxes of RA-CNN between centres of pixels: left, top, right, bottom."""
    height, width = scene.image.shape[:2]
    boxes = scene.values(scene.trace.boxes) if len(scene.trace.boxes) else []  # none at one scale
    corners = [np.concatenate([box[:2] - box[2:], box[:2] + box[2:]]) for box in boxes]
    return [(corner + 1) / 2 * ([width - 1, height - 1] * 2) for corner in corners]


def zoom(image: np.ndarray, box: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The content of a box between centres of pixels, enlarged to a width and height."""
    left, top, right, bottom = box
    matrix = np.array([[right - left, 0, left], [0, bottom - top, top]])
    matrix[:, :2] /= np.array(size) - 1
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def patch_corners(scene: Scene) -> np.ndarray:
    """The boxes of the glimpse network's patches in pixels (T, K, 4)."""
    height, width = scene.image.shape[:2]
    squares = scene.values(scene.trace.glimpse_boxes)  # (T, K, 3)
    centers, half = squares[..., :2], squares[..., 2:]
    corners = np.concatenate([centers - half, centers + half], axis=2)
    return (corners + 1) / 2 * ([width, height] * 2)


def resample_patch(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """The content of a box (left, top, right, bottom) as a small square; black outside."""
    left, top, right, bottom = box
    pitch = ((right - left) / side, (bottom - top) / side)
    finer = max(1, round(max(pitch)))  # oversampling factor
    matrix = np.array([[pitch[0] / finer, 0, left], [0, pitch[1] / finer, top]])
    matrix[:, 2] += matrix[:, :2].diagonal() / 2 - 0.5  # from edges to centres of pixels
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(image, matrix, (side * finer, side * finer), flags=flags)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def patch_boxes(center: np.ndarray, side: int, scales: int) -> np.ndarray:
    """Left, top, right and bottom of the patches of a glimpse around a point: (K, 4)."""
    half = side * 2.0 ** np.arange(scales)[:, None] / 2
    return np.concatenate([center - half, center + half], axis=1)
