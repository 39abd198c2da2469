"""Bilinear resize to the size of another tensor, as two matrix products.

Corners are aligned: the first and last pixels keep their positions. The interpolation matrices are
built inside the graph from the shapes of its inputs, so one hybridized network takes images of any
size. `contrib.BilinearResize2D` computes the same, but its backward pass on a CPU is several times
slower and, with more than one thread, not reproducible.
"""

from __future__ import annotations

from typing import Any


def _weights(F: Any, source: Any, source_axis: int, target: Any, target_axis: int) -> Any:
    """Hat functions of the distance between source pixels and sampling positions: (in, out)."""
    index = F.contrib.arange_like(source, axis=source_axis)
    pixels = F.cast(index, dtype="float32")  # (in,)
    steps = F.cast(F.contrib.arange_like(target, axis=target_axis), dtype="float32")  # (out,)
    last = F.max(pixels, keepdims=True)
    # The only step of a single target pixel is 0, so that any divisor serves.
    positions = F.broadcast_div(
        F.broadcast_mul(steps, last), F.clip(F.max(steps, keepdims=True), 1, 1e9)
    )
    distance = F.broadcast_sub(F.expand_dims(pixels, axis=1), F.expand_dims(positions, axis=0))
    hat = F.relu(1 - F.abs(distance))  # (in, out)
    # Positions are float32; the product needs the dtype of its other factor, which a graph
    # infers only through an operator with both as inputs.
    hat = F.amp_multicast(hat, index, num_outputs=2, cast_narrow=True)[0]
    return F.BlockGrad(hat)


def resize_like(F: Any, x: Any, like: Any) -> Any:
    """`x` (N, C, H, W) resized to the height and width of `like`."""
    x = F.dot(x, _weights(F, x, 3, like, 3))  # (N, C, H, W')
    x = F.transpose(x, axes=(0, 1, 3, 2))  # (N, C, W', H)
    x = F.dot(x, _weights(F, x, 3, like, 2))  # (N, C, W', H')
    return F.transpose(x, axes=(0, 1, 3, 2))
