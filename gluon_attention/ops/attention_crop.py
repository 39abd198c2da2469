"""The attention crop of RA-CNN: the content of a box, and a choice of gradients for the box.

A box is (tx, ty, tl): its center, x before y, and half its side, all in the coordinates of
`ops.crop`, in which the image spans -1 to 1. So (0, 0, 1) is the whole image, tl is the side of the
box as a share of the image's, and boxes have the aspect ratio of their image. Boxes of any aspect
ratio are (tx, ty, tw, th), with half their width and half their height.

`gradient` chooses the gradient that trains a box:

- `sampler`: the exact gradient of bilinear sampling: how the loss changes when the pixels under the
  crop slide or spread. It is local: on fine texture it points at the next stripe.
- `mask`: the rule of the paper. The energy of a pixel, E = sum over channels of dL/dcrop squared,
  says how much it matters. With M the boxcar over the box, whose edges have the slope `SHARPNESS`
  in half sides of the box, the box descends -sum(E * dM/dbox): it moves to the side that matters.
  dM/dtl is positive everywhere, so that this alone would widen any box for ever. Therefore the mean
  over the crop is subtracted from each derivative: what remains of dM/dtl is positive at the rim
  and negative inside, and an energy that is the same everywhere has no effect. The sum is divided
  by the root of the crop's energy, which makes it proportional to the loss as a gradient is, not to
  its square, and it is measured in half sides of the box.
- `both`: their sum.

The paper multiplies the crop by its boxcar, whose rim fades to the mean colour of the data. That
hides detail, so here the crop is the plain content of the box. Images get no gradient.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from ..errors import check_choice
from .crop import CropSize, crop
from .safe import concat, detach

GRADIENTS = ("sampler", "mask", "both")
SHARPNESS = 10.0  # per half side of the box


class AttentionCrop(gluon.HybridBlock):
    """Crops of a batch: images (N, C, H, W) and boxes (N, 3) to (N, C, *size).

    Args:
        size: height and width of the crops, or one number for both.
        gradient: the gradient that trains boxes: sampler, mask or both.

    A program that loads an exported graph of `mask` or `both` has to import this module. `sampler`
    computes the same crops and needs no import.
    """

    def __init__(self, size: CropSize, gradient: str = "both", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("gradient", gradient, GRADIENTS)
        self.size, self.gradient = size, gradient

    def hybrid_forward(self, F: Any, images: Any, boxes: Any) -> Any:
        sampled_boxes = detach(F, boxes) if self.gradient == "mask" else boxes
        crops = crop_box(F, detach(F, images), sampled_boxes, self.size)
        if self.gradient != "sampler":
            crops = F.Custom(crops, boxes, op_type=OP_NAME)
        return crops


def crop_box(F: Any, images: Any, boxes: Any, size: CropSize) -> Any:
    """The content of boxes (N, 3 or 4), with the exact gradient of bilinear sampling."""
    width, height = (F.slice_axis(boxes, axis=1, begin=b, end=e) for b, e in ((2, 3), (-1, None)))
    extent = concat(F, width, height)
    return crop(F, images, F.slice_axis(boxes, axis=1, begin=0, end=2), extent, size)


def bounded_box(F: Any, raw: Any, smallest: float, largest: float) -> Any:
    """Boxes from unbounded numbers (N, 3), with sides between two bounds, inside the image.

    Sigmoids bound them, not clips, whose gradient is zero beyond the bounds. The side of a box
    limits the range of its center.
    """
    half = F.slice_axis(raw, axis=1, begin=2, end=3)
    half = smallest + (largest - smallest) * F.sigmoid(half)
    center = 2 * F.sigmoid(F.slice_axis(raw, axis=1, begin=0, end=2)) - 1
    return concat(F, F.broadcast_mul(center, 1 - half), half)


def clamped_box(F: Any, raw: Any, smallest: float, largest: float) -> Any:
    """Boxes as public PyTorch implementations bound them: first the side, then the center."""
    half = largest * F.sigmoid(F.slice_axis(raw, axis=1, begin=2, end=3))
    half = F.clip(half, smallest, 1)
    center = 2 * F.sigmoid(F.slice_axis(raw, axis=1, begin=0, end=2)) - 1
    center = F.broadcast_minimum(F.broadcast_maximum(center, half - 1), 1 - half)
    return concat(F, center, half)


def pixel_crop(F: Any, images: Any, boxes: Any, size: CropSize) -> Any:
    """Crops of whole pixels, times a boxcar that halves the first row and column.

    As public PyTorch implementations crop: -1 and 1 are the outer edges of the image, not the
    centers of its corner pixels.
    """
    half, windows, masks = F.slice_axis(boxes, axis=1, begin=2, end=3), [], []
    for axis in (0, 1):  # x, y
        center = F.slice_axis(boxes, axis=1, begin=axis, end=axis + 1)
        pixels = F.contrib.arange_like(images, axis=3 - axis)  # (W,) or (H,)
        length = F.reshape(F.max(pixels, keepdims=True) + 1, shape=(1, 1))
        edges = [F.clip(0.5 * (center + side + 1), 0, 1) for side in (-half, half)]
        # A clamped edge is a whole number but for rounding.
        low, high = (F.floor(F.broadcast_mul(edge, length) + 1e-4) for edge in edges)  # (N, 1)
        windows.append((low + high - 1, high - low - 1, length - 1))
        row = F.reshape(pixels, shape=(1, -1))
        rise, fall = (F.sigmoid(SHARPNESS * F.broadcast_sub(row, edge)) for edge in (low, high))
        masks.append(rise - fall)  # (N, W) or (N, H)
    across, down = masks
    mask = F.broadcast_mul(F.expand_dims(down, axis=2), F.expand_dims(across, axis=1))
    masked = F.broadcast_mul(images, F.expand_dims(mask, axis=1))
    center = concat(F, *(F.broadcast_div(c, last) - 1 for c, _, last in windows))
    extent = concat(F, *(F.broadcast_div(e, last) for _, e, last in windows))
    return crop(F, masked, center, extent, size)


def inner_box(F: Any, outer: Any, inner: Any) -> Any:
    """A box in the coordinates of the crop of another box, converted to those of the image."""
    extent = F.slice_axis(outer, axis=1, begin=2, end=None)  # (N, 1 or 2)
    center = F.broadcast_mul(F.slice_axis(inner, axis=1, begin=0, end=2), extent)
    return concat(
        F,
        F.slice_axis(outer, axis=1, begin=0, end=2) + center,
        F.slice_axis(inner, axis=1, begin=2, end=None) * extent,
    )


def mask_gradient_table(size: Tuple[int, int], sharpness: float) -> np.ndarray:
    """dM/dtx, dM/dty and dM/dtl for every pixel of a crop: (3, H, W), each with a mean of zero."""

    def edges(length: int) -> List[np.ndarray]:
        """The boxcar along an axis, and its derivatives by center and half side."""
        pixels = np.linspace(-1, 1, length)
        rise, fall = (1 / (1 + np.exp(-sharpness * (pixels + side))) for side in (1, -1))
        rise_slope, fall_slope = sharpness * rise * (1 - rise), sharpness * fall * (1 - fall)
        return [rise - fall, fall_slope - rise_slope, rise_slope + fall_slope]

    (rows, rows_center, rows_half), (columns, columns_center, columns_half) = map(edges, size)
    table = np.stack(
        [
            np.outer(rows, columns_center),
            np.outer(rows_center, columns),
            np.outer(rows, columns_half) + np.outer(rows_half, columns),
        ]
    )
    return table - table.mean(axis=(1, 2), keepdims=True)


class MaskGradient(mx.operator.CustomOp):
    """The identity on crops; its backward pass computes the gradient of the mask rule for boxes.

    This gradient is not linear in that of the crop, so that no graph of MXNet's operators has it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tables: Dict[Tuple[Any, Any], nd.NDArray] = {}

    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0])

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        self.assign(in_grad[0], req[0], out_grad[0])
        energy = out_grad[0].square().sum(axis=1).reshape((len(out_grad[0]), -1))  # (N, HW)
        total = energy.sum(axis=1, keepdims=True)
        ascent = nd.dot(energy, self._table(out_grad[0]), transpose_b=True)  # (N, 3)
        self.assign(in_grad[1], req[1], -nd.broadcast_div(ascent, (total + 1e-30).sqrt()))

    def _table(self, like: nd.NDArray) -> nd.NDArray:
        key = like.shape[2:], like.context
        if key not in self.tables:
            table = mask_gradient_table(like.shape[2:], SHARPNESS).reshape(3, -1)
            self.tables[key] = nd.array(table, ctx=like.context, dtype=like.dtype)
        return self.tables[key]


OP_NAME = "gluon_attention_mask_gradient"


@mx.operator.register(OP_NAME)
class MaskGradientProp(mx.operator.CustomOpProp):
    """Shapes and arguments of `MaskGradient`."""

    def __init__(self) -> None:
        super().__init__(need_top_grad=True)

    def list_arguments(self) -> List[str]:
        return ["crop", "boxes"]

    def infer_shape(self, in_shape: Any) -> Tuple[Any, Any, Any]:
        return in_shape, [in_shape[0]], []

    def declare_backward_dependency(self, out_grad: Any, in_data: Any, out_data: Any) -> List[Any]:
        return [out_grad[0]]

    def create_operator(self, ctx: Any, shapes: Any, dtypes: Any) -> MaskGradient:
        return MaskGradient()
