"""Draw what each gradient of AttentionCrop pulls a box towards: docs/pull.png.

One image with a bright spot and a loss that falls the more of the crop is bright. Every arrow is a
box of one size, put with its middle where the arrow starts, and shows where descent moves it; the
colour behind it says whether the box grows or shrinks.
"""

from __future__ import annotations

import os
from typing import Tuple

from gluon_attention.ops.attention_crop import GRADIENTS, AttentionCrop
from gluon_attention.storage.atomic import written_aside

import numpy as np
from figures.flags import Parser
from mxnet import autograd, nd

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIDE, CROP, HALF, STEPS = 96, 48, 0.4, 13
SPOT, RADIUS = (0.25, -0.1), 0.16


def scene() -> np.ndarray:
    """A soft bright spot on a weak texture, (SIDE, SIDE) in [0, 1]."""
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)])
    away = ((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / RADIUS**2
    return 0.06 * (np.sin(14 * x) * np.cos(11 * y) + 1) + 0.8 * np.exp(-away)


def pulls(gradient: str) -> Tuple[np.ndarray, np.ndarray]:
    """Middles of boxes, (N, 2), and where descent moves x, y and half the side of each, (N, 3)."""
    reach = np.linspace(HALF - 1, 1 - HALF, STEPS)
    middles = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    boxes = nd.array(np.concatenate([middles, np.full((len(middles), 1), HALF)], axis=1))
    images = nd.array(np.broadcast_to(scene(), (len(middles), 1, SIDE, SIDE)))
    crop = AttentionCrop(CROP, gradient)
    boxes.attach_grad()
    with autograd.record():
        loss = -crop(images, boxes).square().mean(axis=(1, 2, 3)).sum()
    loss.backward()
    return middles, -boxes.grad.asnumpy()


def draw(path: str) -> None:
    """One panel a gradient."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    figure, axes = pyplot.subplots(1, len(GRADIENTS), figsize=(11, 4), constrained_layout=True)
    for axis, gradient in zip(axes, GRADIENTS):
        middles, moved = pulls(gradient)
        grown = moved[:, 2].reshape(STEPS, STEPS)
        rim = 1 - HALF + (1 - HALF) / (STEPS - 1)
        axis.imshow(scene(), cmap="gray", extent=(-1, 1, 1, -1), vmax=1.2)
        shown = axis.imshow(
            grown / abs(grown).max(),
            cmap="RdBu_r",
            extent=(-rim, rim, rim, -rim),
            alpha=0.55,
            vmin=-1,
            vmax=1,
        )
        lengths = np.hypot(*moved[:, :2].T)
        arrows = moved[:, :2] / lengths.max()
        axis.quiver(*middles.T, *arrows.T, angles="xy", scale_units="xy", scale=5, width=0.006)
        corner = (middles[0] - HALF).tolist()
        axis.add_patch(Rectangle(corner, 2 * HALF, 2 * HALF, fill=False, color="gold", lw=2))
        axis.set(title=gradient, xticks=[], yticks=[])
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["shrinks", "stays", "grows"])
    with written_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=80)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    target = os.path.join(ROOT, "docs", "pull.png")
    parser.add_argument(
        "path", nargs="?", default=target, help="PNG to write; docs/pull.png if absent"
    )
    draw(parser.parse_args().path)


if __name__ == "__main__":
    main()
