"""Draw how each gradient of AttentionCrop moves a box: docs/pull.png.

The image has a bright spot, and the loss falls with the brightness of the crop. All boxes have one
size; an arrow starts at the centre of a box and shows where gradient descent moves it, the colour
behind it whether the box grows or shrinks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

from gluon_attention.command_line import Parser, command
from gluon_attention.ops.attention_crop import GRADIENTS, AttentionCrop
from gluon_attention.storage.atomic import atomic_file

import numpy as np
from mxnet import autograd, nd

ROOT = Path(__file__).resolve().parents[2]
SIDE, CROP, HALF, STEPS = 96, 48, 0.4, 13
SPOT, RADIUS = (0.25, -0.1), 0.16


def scene() -> np.ndarray:
    """A soft bright spot on a weak texture, (SIDE, SIDE) in [0, 1]."""
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)])
    distance = ((x - SPOT[0]) ** 2 + (y - SPOT[1]) ** 2) / RADIUS**2
    return 0.06 * (np.sin(14 * x) * np.cos(11 * y) + 1) + 0.8 * np.exp(-distance)


def descent_steps(gradient: str) -> Tuple[np.ndarray, np.ndarray]:
    """Centres of boxes (N, 2), and the descent direction of each box (x, y, half side) (N, 3)."""
    positions = np.linspace(HALF - 1, 1 - HALF, STEPS)
    centres = np.stack(np.meshgrid(positions, positions), axis=-1).reshape(-1, 2)
    boxes = nd.array(np.concatenate([centres, np.full((len(centres), 1), HALF)], axis=1))
    images = nd.array(np.broadcast_to(scene(), (len(centres), 1, SIDE, SIDE)))
    crop = AttentionCrop(CROP, gradient)
    boxes.attach_grad()
    with autograd.record():
        loss = -crop(images, boxes).square().mean(axis=(1, 2, 3)).sum()
    loss.backward()
    return centres, -boxes.grad.asnumpy()


def draw(path: str) -> None:
    """Draw one panel per gradient."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    figure, axes = pyplot.subplots(1, len(GRADIENTS), figsize=(11, 4), constrained_layout=True)
    for axis, gradient in zip(axes, GRADIENTS):
        centres, steps = descent_steps(gradient)
        growth = steps[:, 2].reshape(STEPS, STEPS)
        edge = 1 - HALF + (1 - HALF) / (STEPS - 1)
        axis.imshow(scene(), cmap="gray", extent=(-1, 1, 1, -1), vmax=1.2)
        colours = axis.imshow(
            growth / abs(growth).max(),
            cmap="RdBu_r",
            extent=(-edge, edge, edge, -edge),
            alpha=0.55,
            vmin=-1,
            vmax=1,
        )
        lengths = np.hypot(*steps[:, :2].T)
        arrows = steps[:, :2] / lengths.max()
        axis.quiver(*centres.T, *arrows.T, angles="xy", scale_units="xy", scale=5, width=0.006)
        corner = (centres[0] - HALF).tolist()
        axis.add_patch(Rectangle(corner, 2 * HALF, 2 * HALF, fill=False, color="gold", lw=2))
        axis.set(title=gradient, xticks=[], yticks=[])
    bar = figure.colorbar(colours, ax=axes, shrink=0.8, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["shrinks", "stays", "grows"])
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def main() -> None:
    """Draw the picture."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    target = ROOT / "docs" / "pull.png"
    parser.add_argument(
        "path", nargs="?", default=target, help="PNG to write (default: docs/pull.png)"
    )
    draw(parser.parse_args().path)


if __name__ == "__main__":
    command(main)
