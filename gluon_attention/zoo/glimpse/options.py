"""Options and names of the glimpse network and of its first stage, and the options of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from ...errors import UserError
from ...fields import field
from ..registry import later, register


@dataclass(frozen=True)
class EncoderOptions:
    """Options of the encoder, which both stages of training share."""

    backbone: str = field("resnet50_v1", "backbone, by its name in Gluon's model zoo")
    patch: int = field(96, "side of the patches in pixels", low=16, high=1024)
    size: Optional[int] = field(
        None, "side of the images in pixels, None for four patches", low=16, high=4096
    )
    stem_stride: Optional[int] = field(
        1, "stride of the first convolution, None for the backbone's own", low=1, high=8
    )
    patches: int = field(
        2, "number of patches of a glimpse, each twice as wide as the one before", low=1, high=3
    )
    start_size: int = field(
        2, "side of the first patch in quarters of the image's side", choices=(1, 2, 4)
    )
    frozen_bn: bool = field(True, "BatchNorm with its loaded statistics and scales")

    @property
    def image_size(self) -> int:
        """Side of the images in pixels; by default a quarter of an image fills a patch."""
        return self.size or 4 * self.patch

    @property
    def sides(self) -> Tuple[float, ...]:
        """Sides of the patches of a glimpse, as shares of the image's side."""
        if self.start_size * 2 ** (self.patches - 1) > 4:
            raise UserError(
                f"patches={self.patches} with start_size={self.start_size} exceeds the image: "
                "start_size=1 takes 1 to 3 patches, start_size=2 takes 1 or 2, start_size=4 takes 1"
            )
        return tuple(self.start_size * 2**number / 4 for number in range(self.patches))


@dataclass(frozen=True)
class GlimpseOptions(EncoderOptions):
    """Options of the glimpse network."""

    glimpses: int = field(3, "number of glimpses", low=1, high=100)
    regions: int = field(2, "attention regions per side of the context", low=2, high=64)
    reach: Optional[float] = field(
        None,
        "coordinate of the outermost regions, None for their centres",
        low=0.001,
        high=1,
    )
    hidden: int = field(2048, "width of the LSTM", low=1, high=65536)
    attention: Optional[int] = field(
        None, "width of the attention's keys, None for half that of the LSTM", low=1, high=65536
    )
    location: str = field(
        "differentiable",
        "training of locations",
        choices=("differentiable", "sampled", "mirrored"),
        trainable=("differentiable", "sampled"),
    )
    policy: str = field(
        "learned", "policy that chooses locations", choices=("learned", "center", "random")
    )
    std: Optional[float] = field(
        None,
        "standard deviation of locations in training, None for 0.2 if they are sampled, else 0",
        low=0,
        high=100,
    )
    dropout: float = field(
        0.0, "dropout of glimpse features and of the hidden state before the head", low=0, high=0.99
    )
    frozen: bool = field(True, "frozen encoder")
    overlap: int = field(
        4,
        "density of the grid of cached features, 0 for the centre alone, see docs/glimpse.md",
        low=0,
        high=64,
    )

    def __post_init__(self) -> None:
        if self.location == "sampled" and self.std is not None and self.std < 0.001:
            raise UserError("std must be above 0 where locations are sampled")
        if self.overlap == 0 and self.policy != "center":
            raise UserError("overlap must be 1 or more; 0 is for policy='center' alone")


@dataclass(frozen=True)
class PretrainingOptions(EncoderOptions):
    """Options of the first stage."""

    reach: float = field(
        0.5, "largest coordinate of the locations that training samples", low=0.001, high=1
    )
    width: int = field(1024, "width of the hidden layer of each head", low=1, high=65536)


@dataclass(frozen=True)
class StepOptions:
    """Options of the task."""

    reward: str = field(
        "likely",
        "reward of sampled locations: the probability of the label after the glimpse, or 1 if the "
        "last classification of the episode is right",
        choices=("likely", "right"),
    )


# Section 4 of the paper: patches of 96 pixels a side; the first two backbones have weights of
# ImageNet. The last network is for the scenes of `datasets.detail`.
_SCENES: Dict[str, Any] = dict(backbone="tiny", patch=48, start_size=1, reach=0.6)
_NETWORK = later(f"{__package__}.network", "GlimpseNet")
_STAGE1 = later(f"{__package__}.pretraining", "PatchClassifier")
for _end, _options, _stage1, _side, _classes in (
    ("resnet50", GlimpseOptions("resnet50_v1"), PretrainingOptions("resnet50_v1"), 384, 120),
    (
        "mobilenet_v2",
        GlimpseOptions("mobilenetv2_1.0"),
        PretrainingOptions("mobilenetv2_1.0"),
        384,
        120,
    ),
    (
        "detail",
        GlimpseOptions(regions=6, hidden=128, **_SCENES),
        PretrainingOptions(frozen_bn=False, **_SCENES),
        192,
        16,
    ),
):
    _common: Dict[str, Any] = dict(shape=(3, _side, _side), classes=_classes)
    register(f"glimpse_{_end}", _NETWORK, options=_options, **_common)
    register(f"glimpse_{_end}_stage1", _STAGE1, options=_stage1, **_common)
