"""Train RA-CNN, which zooms in on a part of the image, on birds or on generated scenes.

gluon-attention train cub200 --data-dir data/CUB_200_2011 --backbone-weights mobilenetv2_1.0.params
gluon-attention train cub200 --recipe racnn_mobilenet_v2_activation --backbone-weights FILE
gluon-attention train cub200 --dataset detail
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from ...datasets.cub import cub200
from ...datasets.detail import detail
from ...datasets.sampling import Splits
from ...errors import UserError
from ...scripts import BackboneConfig, network_flags, preset, task_flags, train
from ...training.config import data_setting, network_setting
from ...zoo.racnn.options import RACNNOptions, RankingOptions
from ...zoo.registry import options_of
from .recipes import CUB200_RECIPES, parse_stages, recipe_setting

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
    recipe: Optional[str] = recipe_setting(CUB200_RECIPES)
    model: str = network_setting(
        "mobilenet_v2",
        "network: its name without racnn_",
        choices=("mobilenet_v2", "mobilenet_v2_activation", "vgg19", "detail"),
    )
    batch_size: int = BackboneConfig.redefine("batch_size", 8)
    weight_decay: float = BackboneConfig.redefine("weight_decay", 5e-4)
    epochs: int = BackboneConfig.redefine("epochs", 40)
    lr: float = BackboneConfig.redefine("lr", 1e-3)


def name_of(config: Cub) -> str:
    """The network's name in the zoo."""
    return f"racnn_{config.model}"


def options(config: Cub) -> Dict[str, Any]:
    """Every option of the network: those of its name, and those that flags set."""
    return {**options_of(name_of(config)), **config.network_options()}


def network(config: Cub, classes: int) -> AttentionNet:
    """RA-CNN; its BatchNorm is frozen where it has pretrained statistics."""
    flags = {"frozen_bn": bool(config.backbone_weights), **config.network_options()}
    return config.network(name_of(config), classes, flags)


def data(config: Cub) -> Splits:
    common = dict(size=config.size, seed=config.seed, validation=config.validation)
    if config.dataset == "detail":
        return detail(coarse=config.size // options(config)["shrink"], radius=(0.38, 0.5), **common)
    return cub200(config.data_dir, workers=config.workers, **common)


def without_effect(config: Cub, defaults: Mapping[str, Any]) -> List[str]:
    """Flags of proposed boxes that are given though the feature map chooses the boxes."""
    if options(config)["locate"] != "activation":
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
    for config in parse_stages(Cub, CUB200_RECIPES, argv, prog, __doc__, defaults):
        if config.recipe and config.dataset != "cub":
            raise UserError(
                f"--recipe {config.recipe} trains on birds: leave --dataset {config.dataset} out"
            )
        if config.recipe and not (config.backbone_weights or config.start_from):
            raise UserError(
                f"--recipe {config.recipe} starts from a backbone trained on ImageNet: give its "
                "weights by --backbone-weights FILE, see docs/weights.md"
            )
        flags = without_effect(config, defaults)
        if flags:
            print(f"note: without effect, as the feature map chooses the boxes: {', '.join(flags)}")
        train_network(config)


def train_network(config: Cub) -> None:
    train(
        config,
        name=f"{config.dataset}-{name_of(config)}",
        network=lambda classes: network(config, classes),
        data=lambda: data(config),
    )
