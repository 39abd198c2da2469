"""Train RA-CNN, which zooms in on a part of the image, on birds or on generated scenes.

gluon-attention train cub200 --data-dir data/CUB_200_2011 --backbone-weights mobilenetv2_1.0.params
gluon-attention train cub200 --dataset detail
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence

from ...datasets.cub import cub200
from ...datasets.detail import detail
from ...datasets.sampling import Splits
from ...scripts import BackboneConfig, network_flags, preset, task_flags, train
from ...training.config import data_setting, network_setting
from ...zoo.racnn.options import RACNNOptions, RankingOptions
from ...zoo.registry import options_of

if TYPE_CHECKING:
    from ...zoo.attention_net import AttentionNet

# Defaults for --dataset detail: a small network from scratch, for images of 192 pixels.
DETAIL = dict(
    model="detail",
    size=192,
    response="energy",
    margin=0.3,
    stages=(7, 6, 2),
    epochs=43,
    lr_steps=(41,),
    locate_lr=3.0,
    optimizer="adam",
    lr=1.5e-3,
    weight_decay=1e-4,
    batch_size=16,
    validation=160,
)
OPTIONS = network_flags(
    RACNNOptions,
    *("backbone", "crops", "shrink", "locate", "shared", "apn", "descriptor"),
    *("smallest", "largest", "frozen_bn"),
)


@dataclass(frozen=True)
class Cub(OPTIONS, task_flags(RankingOptions), BackboneConfig):
    data_dir: str = BackboneConfig.redefine(
        "data_dir", "data/CUB_200_2011", help="folder of the birds' images and lists"
    )
    dataset: str = data_setting(
        "cub",
        "data set: birds, or generated scenes whose detail decides the class",
        choices=("cub", "detail"),
    )
    size: int = data_setting(448, "height and width of the images", low=32, high=4096)
    validation: int = BackboneConfig.redefine("validation", 600)
    workers: int = BackboneConfig.redefine("workers", 2, low=1)
    model: str = network_setting(
        "mobilenet_v2",
        "network, named by its backbone or its data",
        choices=("mobilenet_v2", "vgg19", "detail"),
    )
    batch_size: int = BackboneConfig.redefine("batch_size", 8)
    weight_decay: float = BackboneConfig.redefine("weight_decay", 5e-4)
    epochs: int = BackboneConfig.redefine("epochs", 40)
    lr: float = BackboneConfig.redefine("lr", 1e-3)


def network(config: Cub, classes: int) -> AttentionNet:
    """RA-CNN; its BatchNorm is frozen where it has pretrained statistics."""
    options = {"frozen_bn": bool(config.backbone_weights), **config.network_options()}
    return config.network(f"racnn_{config.model}", classes, options)


def data(config: Cub) -> Splits:
    common = dict(size=config.size, seed=config.seed, validation=config.validation)
    if config.dataset == "detail":
        name = f"racnn_{config.model}"
        shrink = config.network_options().get("shrink", options_of(name)["shrink"])
        return detail(coarse=config.size // shrink, radius=(0.38, 0.5), **common)
    return cub200(config.data_dir, workers=config.workers, **common)


def without_effect(config: Cub, defaults: Mapping[str, Any]) -> List[str]:
    """Flags of proposed boxes that are given though the feature map chooses the boxes."""
    if config.network_options().get("locate") != "activation":
        return []
    unused = {f.name: f.default for f in dataclasses.fields(RankingOptions)}
    unused.update(apn=None, smallest=None, largest=None)
    return [
        "--" + name.replace("_", "-")
        for name, default in unused.items()
        if getattr(config, name) != defaults.get(name, default)
    ]


def main(argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    defaults = preset(argv, "--dataset", {"detail": DETAIL})
    config = Cub.parse(argv, prog=prog, description=__doc__, defaults=defaults)
    flags = without_effect(config, defaults)
    if flags:
        print(f"note: without effect, as the feature map chooses the boxes: {', '.join(flags)}")
    train(
        config,
        name=f"{config.dataset}-racnn_{config.model}",
        network=lambda classes: network(config, classes),
        data=lambda: data(config),
    )
