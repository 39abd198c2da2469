"""Options and names of RAM, and the options of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Tuple

from ...errors import UserError
from ...fields import field
from ..registry import later, register


@dataclass(frozen=True)
class RamOptions:
    """Options of RAM; the defaults are those of `ram_28`."""

    patch: int = field(8, "side of a patch in pixels", low=2, high=4096)
    scales: int = field(
        1, "patches of a glimpse, each twice as wide as the one before", low=1, high=10
    )
    glimpses: int = field(6, "glimpses of an episode", low=1, high=100)
    channels: int = field(1, "channels of the images", low=1, high=4096)
    widths: Tuple[int, ...] = field(
        (128, 128, 256, 256, 128),
        "units of five layers: what, where and both of the glimpse network, core, locator",
        low=1,
        high=65536,
    )
    std: float = field(0.07, "standard deviation of drawn locations", low=1e-6, high=100)
    core: str = field("rnn", "kind of the recurrent core", choices=("rnn", "lstm"))
    start: str = field(
        "uniform",
        "first location in training, random or at the center",
        choices=("uniform", "center"),
    )
    policy: str = field(
        "learned", "choice of locations: by the locator, or random", choices=("learned", "random")
    )
    move: str = field(
        "absolute",
        "output of the locator: a location, or a step from the last one",
        choices=("relative", "absolute"),
    )
    retina: str = field(
        "bilinear",
        "sampling of patches: at any location, or of whole pixels as public PyTorch code does",
        choices=("bilinear", "pixels"),
    )

    def __post_init__(self) -> None:
        if len(self.widths) != 5:
            raise UserError(f"widths must be five numbers, not {len(self.widths)}")
        if self.retina == "pixels" and self.patch % 2:
            raise UserError(f"retina='pixels' needs an even patch, not {self.patch}")


@dataclass(frozen=True)
class ReinforceOptions:
    """Options of the task."""

    reward: str = field(
        "gain",
        "reward of a glimpse: what it adds to the log-probability of the label, or, as in the "
        "paper, 1 if the classification is right",
        choices=("gain", "right"),
    )
    samples: int = field(
        10, "episodes averaged in validation and test", "-m", low=1, high=1000, decides=False
    )


# Section 4.1 of the paper: side of the image; side of the patch, scales, glimpses. The first
# glimpse is at the center if the widest patch covers most of the image from there. The standard
# deviation is that of the last stage of training.
CANVAS = RamOptions(patch=12, scales=3, start="center", move="relative", std=0.06)
SPECS = {
    "ram_28": (28, RamOptions()),
    "ram_translated_60": (60, replace(CANVAS, std=0.05)),
    "ram_cluttered_60": (60, replace(CANVAS, glimpses=8, widths=(256, 128, 256, 384, 128))),
    "ram_cluttered_100": (100, replace(CANVAS, glimpses=8, scales=4)),
}

_NETWORK = later(f"{__package__}.network", "RecurrentAttention")
for _name, (_side, _options) in SPECS.items():
    register(_name, _NETWORK, options=_options, shape=(1, _side, _side), classes=10)
