"""Pictures of what a network attends to, drawn from what its trace exposes."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import numpy as np
from mxnet import nd
from PIL import Image

from .files import written_aside

# What a trace exposes decides what is drawn: field of the trace -> function of (image, trace, row).
PAINTERS: Dict[str, Callable[..., np.ndarray]] = {}


def pictures(
    net: Any, images: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> Dict[str, np.ndarray]:
    """`{name: (H, W, 3) uint8}` for raw images (N, H, W, C) uint8, one picture for all of them."""
    scaled = (images / 255.0 - np.asarray(mean)) / np.asarray(std)
    batch = nd.array(scaled.transpose(0, 3, 1, 2), ctx=_device(net))
    trace = net.trace(batch)
    return {name: paint(images, trace) for name, paint in PAINTERS.items() if name in trace._fields}


def _device(net: Any) -> Any:
    return next(iter(net.collect_params().values())).list_ctx()[0]


def save_png(path: str, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8."""
    with written_aside(path) as aside:
        Image.fromarray(picture).save(aside, format="PNG")


def save_gif(path: str, frames: List[np.ndarray], seconds: float = 0.8) -> None:
    """Write frames of one size as an endless animation."""
    with written_aside(path) as aside:
        first, *rest = [Image.fromarray(frame) for frame in frames]
        first.save(
            aside, "GIF", save_all=True, append_images=rest, duration=int(seconds * 1000), loop=0
        )
