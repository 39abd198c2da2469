"""Train RA-CNN as public PyTorch implementations do, whose boxes grow back to the whole image.

python benchmarks/fading_zoom.py --dataset detail --seed 0

The flags are those of train/cub200_train.py, and so are network, data and schedule. What differs:

- Boxes are free numbers that are clamped, half the side to 2/3 and more, the middle to what is left
  of the image; the gradient does not know of the clamps and pushes on.
- The gradient of a box is the sum of the squared gradient of the crop over thirds of it: the last
  less the first for the middle, everything but the middle ninth less that for the side. Nothing is
  divided by an area, so that energy that is the same everywhere makes the box grow.
- A finer scale's loss does not reach coarser boxes.
"""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from typing import Any, List, Tuple

from gluon_attention.ops import attention_crop
from gluon_attention.ops.attention_crop import MaskPull, MaskPullProp, crop_box
from gluon_attention.ops.safe import detach
from gluon_attention.zoo.racnn import network as ra_cnn
from gluon_attention.zoo.racnn import task as ranked_scales

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMALLEST = 2 / 3  # a third of the image for half a side
PULL = "third_pull"


def clamped_box(F: Any, free: Any, smallest: float, largest: float) -> Any:
    """Boxes (N, 3) with clamps that their gradient does not know of; bounds of others are left."""
    half = F.sigmoid(F.slice_axis(free, axis=1, begin=2, end=3))
    middle = 2 * F.sigmoid(F.slice_axis(free, axis=1, begin=0, end=2)) - 1
    side = F.clip(half, SMALLEST, 1)
    room = 1 - side
    held = F.broadcast_minimum(F.broadcast_maximum(middle, -room), room)
    box = F.concat(middle, half, dim=1)
    return box + detach(F, F.concat(held, side, dim=1) - box)


def thirds(size: Tuple[int, int]) -> np.ndarray:
    """What a pixel's energy adds to tx, ty and tl: (3, H, W)."""
    rows, columns = (np.arange(length) * 3 // length for length in size)  # 0, 1 or 2
    across, down = np.broadcast_arrays(columns[None, :] - 1, rows[:, None] - 1)
    inner = (across == 0) & (down == 0)
    return np.stack([across, down, np.where(inner, -1, 1)]).astype(float)


class ThirdPull(MaskPull):
    """The crop as it is; its box gets sums of squares, multiplied by the side of the image."""

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        self.assign(in_grad[0], req[0], out_grad[0])
        energy = out_grad[0].square().sum(axis=1).reshape((len(out_grad[0]), -1))
        table = nd.array(thirds(out_grad[0].shape[2:]).reshape(3, -1))
        moved = nd.dot(energy, table.as_in_context(energy.context), transpose_b=True)
        self.assign(in_grad[1], req[1], -moved * out_grad[0].shape[3])


@mx.operator.register(PULL)
class ThirdPullProp(MaskPullProp):
    """Shapes and arguments of `ThirdPull`."""

    def create_operator(self, ctx: Any, shapes: List[Any], dtypes: List[Any]) -> ThirdPull:
        return ThirdPull(self.sharpness)


class ThirdCrop(gluon.HybridBlock):
    """Stands in for `AttentionCrop`."""

    def __init__(self, size: int, gradient: str) -> None:
        super().__init__()
        self.size = size

    def hybrid_forward(self, F: Any, images: Any, boxes: Any) -> Any:
        seen = crop_box(F, detach(F, images), detach(F, boxes), self.size)
        return F.Custom(seen, boxes, op_type=PULL)


def alone(F: Any, outer: Any, inner: Any) -> Any:
    """A box in the image, whose gradient does not reach the one around it."""
    return attention_crop.inner_box(F, detach(F, outer), inner)


if __name__ == "__main__":
    ra_cnn.bounded_box, ra_cnn.inner_box = clamped_box, alone
    ranked_scales.AttentionCrop = ThirdCrop
    ranked_scales.strongest = partial(ranked_scales.strongest, half=SMALLEST)
    if not any(word.split("=")[0] == "--name" for word in sys.argv):
        sys.argv += ["--name", "fading"]
    runpy.run_path(os.path.join(ROOT, "train", "cub200_train.py"), run_name="__main__")
