"""Options and names of RA-CNN, and the options of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import List, Tuple

from ...errors import UserError
from ...fields import field
from ..registry import later, register


@dataclass(frozen=True)
class RACNNOptions:
    """Options of RA-CNN; the defaults are the paper's, except for the APN."""

    backbone: str = field("vgg19", "backbone of every scale, by its name in Gluon's model zoo")
    crops: Tuple[int, ...] = field(
        (224, 224), "side of the crop of each finer scale in pixels", low=2, high=4096
    )
    shrink: int = field(1, "downscaling factor of the image for the first scale", low=1, high=64)
    locate: str = field(
        "apn",
        "source of boxes: the attention proposal network, or the feature map alone",
        choices=("apn", "activation"),
    )
    shared: bool = field(False, "one backbone for all scales, as always with locate=activation")
    apn: str = field("light", "attention proposal network", choices=("light", "paper", "plain"))
    descriptor: str = field(
        "scaled", "scale of pooled features before a classifier", choices=("scaled", "normalised")
    )
    smallest: Tuple[float, ...] = field(
        (1 / 3,),
        "smallest side of all boxes, or of each, as a share of the view it is proposed in",
        low=0.01,
        high=1,
    )
    largest: float = field(
        0.9, "largest side of a box, as a share of the view it is proposed in", low=0.01, high=2
    )
    frozen_bn: bool = field(False, "BatchNorm with its loaded statistics and scales")
    boxes: str = field(
        "bounded", "way to keep boxes inside the image", choices=("bounded", "pixels")
    )

    def __post_init__(self) -> None:
        if self.locate == "activation":  # no box has bounds
            if self.boxes == "pixels":
                raise UserError("boxes='pixels' are squares: leave it out with locate='activation'")
            return
        count = len(self.crops)
        if not self.smallest or len(self.smallest) not in (1, count):
            raise UserError(
                f"smallest must be one number, or one for each of the {count} crops, not "
                f"{len(self.smallest)}"
            )
        limit = 2 if self.boxes == "pixels" else 1  # a clamp cuts off what exceeds the view
        if not max(self.smallest) < self.largest <= limit:
            raise UserError(
                f"largest must be above smallest and at most {limit} where boxes='{self.boxes}', "
                f"not {self.largest:g} with {max(self.smallest):g}"
            )

    def bounds(self) -> List[Tuple[float, float]]:
        """Smallest and largest side of each box."""
        count = len(self.crops)
        smallest = self.smallest * count if len(self.smallest) == 1 else self.smallest
        return [(side, self.largest) for side in smallest]


@dataclass(frozen=True)
class RankingOptions:
    """Options of the task."""

    margin: float = field(
        0.05, "margin of the ranking loss, in probability of the true class", low=-1, high=1
    )
    gradient: str = field(
        "sampler", "gradient that moves the boxes", choices=("sampler", "mask", "both")
    )
    response: str = field(
        "mean",
        "response map that locates the first boxes: mean of channels, or of their squares",
        choices=("mean", "energy"),
    )
    stages: Tuple[int, ...] = field(
        (6, 2, 1),
        "epochs of a new scale, of a new box, and of each turn of boxes or classifiers",
        low=0,
    )
    attend_lr: float = field(
        0.1, "learning rate of boxes in the ranking loss, as a share of --lr", low=0
    )
    locate_lr: float = field(
        1.0, "learning rate of boxes while they are located, as a share of --lr", low=0
    )


# Section 4.1 of the paper: VGG-19 at 448, 224 and 224 pixels. MobileNetV2 is the backbone of public
# ports; with boxes by the feature map it costs as much as one scale of 448 pixels. The last network
# is for the generated scenes of `datasets.detail`.
_MOBILE = RACNNOptions("mobilenetv2_1.0", descriptor="normalised")
_ACTIVATION = replace(_MOBILE, locate="activation", shrink=2, crops=(384,))
_DETAIL = replace(_MOBILE, backbone="tiny", crops=(72, 72), shrink=3, smallest=(0.65, 0.85))
_NETWORK = later(f"{__package__}.network", "RACNN")
for _name, _options, _side, _classes in (
    ("racnn_vgg19", RACNNOptions(), 448, 200),
    ("racnn_mobilenet_v2", _MOBILE, 448, 200),
    ("racnn_mobilenet_v2_activation", _ACTIVATION, 448, 200),
    ("racnn_detail", _DETAIL, 192, 16),
):
    register(_name, _NETWORK, options=_options, shape=(3, _side, _side), classes=_classes)
