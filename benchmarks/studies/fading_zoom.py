"""Train RA-CNN as public PyTorch implementations do: its boxes grow back to the whole image.

python benchmarks/studies/fading_zoom.py --dataset detail --seed 0

Flags, network, data and schedule are those of train/cub200_train.py. The differences:

- Boxes are clamped, half the side to at least 2/3, the centre so that the box stays in the image.
  The gradient ignores the clamps (straight-through).
- The gradient of a box sums the squared gradient of the crop over thirds of it: last minus first
  third for the centre, all but the middle ninth minus that ninth for the side. It is not divided
  by areas, so uniform energy makes the box grow.
- The loss of a finer scale does not reach coarser boxes.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, List, Tuple

from gluon_attention.command_line import command
from gluon_attention.commands.train.cub200 import main
from gluon_attention.ops import attention_crop
from gluon_attention.ops.attention_crop import MaskGradient, MaskGradientProp, crop_box
from gluon_attention.ops.safe import detach
from gluon_attention.zoo.racnn import network as ra_cnn
from gluon_attention.zoo.racnn import task as ranked_scales

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

SMALLEST = 2 / 3  # half the side of a box, where that of the image is 1
PULL = "third_pull"


def clamped_box(F: Any, logits: Any, smallest: float, largest: float) -> Any:
    """Boxes (N, 3) with straight-through clamps; `smallest` and `largest` are ignored."""
    half = F.sigmoid(F.slice_axis(logits, axis=1, begin=2, end=3))
    centre = 2 * F.sigmoid(F.slice_axis(logits, axis=1, begin=0, end=2)) - 1
    side = F.clip(half, SMALLEST, 1)
    limit = 1 - side
    inside = F.broadcast_minimum(F.broadcast_maximum(centre, -limit), limit)
    box = F.concat(centre, half, dim=1)
    return box + detach(F, F.concat(inside, side, dim=1) - box)


def thirds(size: Tuple[int, int]) -> np.ndarray:
    """Weight of each pixel's energy in the gradient of x, y and the half side: (3, H, W)."""
    rows, columns = (np.arange(length) * 3 // length for length in size)  # 0, 1 or 2
    x, y = np.broadcast_arrays(columns[None, :] - 1, rows[:, None] - 1)
    inner = (x == 0) & (y == 0)
    return np.stack([x, y, np.where(inner, -1, 1)]).astype(float)


class ThirdPull(MaskGradient):
    """Identity on the crop; the box gets sums of squared gradients, times the side of the crop."""

    def backward(
        self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any
    ) -> None:
        self.assign(in_grad[0], req[0], out_grad[0])
        energy = out_grad[0].square().sum(axis=1).reshape((len(out_grad[0]), -1))
        table = nd.array(thirds(out_grad[0].shape[2:]).reshape(3, -1))
        step = nd.dot(energy, table.as_in_context(energy.context), transpose_b=True)
        self.assign(in_grad[1], req[1], -step * out_grad[0].shape[3])


@mx.operator.register(PULL)
class ThirdPullProp(MaskGradientProp):
    """Shapes and arguments of `ThirdPull`."""

    def create_operator(self, ctx: Any, shapes: List[Any], dtypes: List[Any]) -> ThirdPull:
        return ThirdPull(self.sharpness)


class ThirdCrop(gluon.HybridBlock):
    """Replaces `AttentionCrop`."""

    def __init__(self, size: int, gradient: str) -> None:
        super().__init__()
        self.size = size

    def hybrid_forward(self, F: Any, images: Any, boxes: Any) -> Any:
        crops = crop_box(F, detach(F, images), detach(F, boxes), self.size)
        return F.Custom(crops, boxes, op_type=PULL)


def detached_inner_box(F: Any, outer: Any, inner: Any) -> Any:
    """A box in image coordinates whose gradient does not reach the box around it."""
    return attention_crop.inner_box(F, detach(F, outer), inner)


if __name__ == "__main__":
    ra_cnn.bounded_box, ra_cnn.inner_box = clamped_box, detached_inner_box
    ranked_scales.AttentionCrop = ThirdCrop
    ranked_scales.strongest = partial(ranked_scales.strongest, half=SMALLEST)
    if not any(word.split("=")[0] == "--name" for word in sys.argv):
        sys.argv += ["--name", "fading"]
    command(main)
