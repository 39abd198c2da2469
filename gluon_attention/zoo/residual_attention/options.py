"""Options, architectures and names of residual attention networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Dict, NamedTuple, Optional, Tuple

from ...fields import field
from ..registry import later, register


class Stage(NamedTuple):
    """Units, the first of which has the stride, then attention modules."""

    channels: int
    stride: int
    units: int
    depth: Optional[int] = None  # poolings in a mask; None where there are no modules


class Depths(NamedTuple):
    """Modules per stage, and the units of a module."""

    modules: Tuple[int, ...]
    before: int = 1  # p of the paper: before trunk and mask split
    trunk: int = 2  # t: in the trunk
    mask: int = 1  # r: between two poolings of the mask
    after: int = 1  # after trunk and mask have joined


class Architecture(NamedTuple):
    """The stages of a network; `Depths` has the numbers of its modules and units."""

    shape: Tuple[int, int, int]
    classes: int
    stem: int
    stages: Tuple[Stage, ...]


@dataclass(frozen=True)
class ResidualAttentionOptions:
    """The variants that the paper compares, and the one of GluonCV's weights."""

    mask_fusion: str = field(
        "none",
        "features added inside the masks, as the paper or as GluonCV does",
        choices=("none", "gluoncv"),
    )
    mask_activation: str = field(
        "mixed",
        "activation of the masks: sigmoid, or normalisation over channels or positions",
        choices=("mixed", "channel", "spatial"),
    )
    attention: str = field(
        "residual",
        "how masks weight features: (1 + M) T or M T",
        choices=("residual", "naive"),
    )
    mask: str = field(
        "encoder_decoder",
        "shape of the mask branch, with pooling and resizing or without",
        choices=("encoder_decoder", "local"),
    )
    unit: str = field(
        "preact",
        "residual unit: pre-activation ResNet, or ResNeXt (AttentionNeXt)",
        choices=("preact", "next"),
    )


# Table 2 of the paper: 56, 28, 14 and 7 pixels for images of 224.
_BODY = (Stage(512, 2, 1, 2), Stage(1024, 2, 1, 1), Stage(2048, 2, 3))
IMAGENET = Architecture((3, 224, 224), 1000, 64, (Stage(256, 1, 1, 3), *_BODY))
# A stage of 112 pixels more, for images of 448.
LARGE = Architecture((3, 448, 448), 1000, 64, (Stage(128, 1, 1, 4), Stage(256, 2, 1, 3), *_BODY))
_CIFAR = ((3, 32, 32), 10, 32)
WIDE = Architecture(
    *_CIFAR,
    (Stage(128, 1, 1, 2), Stage(256, 2, 1, 1), Stage(512, 2, 1, 0), Stage(1024, 1, 3)),
)
DEEP = Architecture(
    *_CIFAR,
    (Stage(128, 1, 1, 3), Stage(256, 2, 1, 2), Stage(512, 2, 1, 1), Stage(1024, 2, 3)),
)
# "Two extra units per stage", and nothing after the last one.
SLIM = Architecture(
    (3, 32, 32), 10, 16, (Stage(64, 1, 2, 3), Stage(128, 2, 2, 2), Stage(256, 2, 2, 1))
)
_452 = Depths((6, 6, 6), before=2, trunk=4, mask=3, after=2)
NETWORKS: Dict[str, Tuple[Architecture, Depths]] = {
    "residual_attention56": (IMAGENET, Depths((1, 1, 1))),
    "residual_attention92": (IMAGENET, Depths((1, 2, 3))),
    "residual_attention128": (IMAGENET, Depths((3, 3, 3))),
    "residual_attention164": (IMAGENET, Depths((4, 4, 4))),
    "residual_attention200": (IMAGENET, Depths((5, 5, 5))),
    "residual_attention236": (IMAGENET, Depths((6, 6, 6))),
    "residual_attention452": (IMAGENET, _452),
    "residual_attention56_448": (LARGE, Depths((1, 1, 1, 1))),
    "residual_attention92_448": (LARGE, Depths((1, 1, 2, 3))),
    "cifar_residual_attention56": (WIDE, Depths((1, 1, 1))),
    "cifar_residual_attention92": (WIDE, Depths((1, 2, 3))),
    "cifar_residual_attention128": (WIDE, Depths((3, 3, 3))),
    "cifar_residual_attention164": (WIDE, Depths((4, 4, 4))),
    "cifar_residual_attention236": (WIDE, Depths((6, 6, 6))),
    "cifar_residual_attention452": (WIDE, _452),
    "cifar_residual_attention56_deep": (DEEP, Depths((1, 1, 1))),
    "cifar_residual_attention92_deep": (DEEP, Depths((1, 2, 3))),
    "cifar_residual_attention128_deep": (DEEP, Depths((3, 3, 3))),
    "cifar_residual_attention164_deep": (DEEP, Depths((4, 4, 4))),
    "cifar_residual_attention236_deep": (DEEP, Depths((6, 6, 6))),
    "cifar_residual_attention452_deep": (DEEP, _452),
    "cifar_residual_attention56_slim": (SLIM, Depths((1, 1, 1))),
    "cifar_residual_attention92_slim": (SLIM, Depths((2, 2, 2))),
    "cifar_residual_attention128_slim": (SLIM, Depths((3, 3, 3))),
    "cifar_residual_attention164_slim": (SLIM, Depths((4, 4, 4))),
    "cifar_residual_attention236_slim": (SLIM, Depths((6, 6, 6))),
    "cifar_residual_attention452_slim": (SLIM, _452),
}
GLUONCV: Dict[str, Tuple[Architecture, Depths]] = {
    "residualattentionnet56": (IMAGENET, Depths((1, 1, 1))),
    "residualattentionnet92": (IMAGENET, Depths((1, 2, 3))),
    "residualattentionnet128": (IMAGENET, Depths((2, 3, 4))),
    "residualattentionnet164": (IMAGENET, Depths((3, 4, 5))),
    "residualattentionnet200": (IMAGENET, Depths((4, 5, 6))),
    "residualattentionnet236": (IMAGENET, Depths((5, 6, 7))),
    "residualattentionnet452": (IMAGENET, Depths((5, 6, 7), before=2, trunk=4, mask=3)),
    "cifar_residualattentionnet56": (WIDE, Depths((1, 1, 1))),
    "cifar_residualattentionnet92": (WIDE, Depths((1, 2, 3))),
    "cifar_residualattentionnet452": (WIDE, Depths((5, 6, 7), before=2, trunk=4, mask=3)),
}

_NETWORK = later(f"{__package__}.network", "ResidualAttention")
for _table, _fusion in ((NETWORKS, "none"), (GLUONCV, "gluoncv")):
    for _name, (_architecture, _depths) in _table.items():
        register(
            _name,
            partial(_NETWORK, _architecture, _depths),
            options=ResidualAttentionOptions(mask_fusion=_fusion),
            shape=_architecture.shape,
            classes=_architecture.classes,
            alias=_table is GLUONCV,
        )
