"""Train a residual attention network on CIFAR-10 or CIFAR-100.

gluon-attention train cifar10 --recipe cifar_residual_attention56_slim
gluon-attention train cifar10 --num-layers 92 --epochs 200 --lr-steps 80,120 --mix-up 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from ...datasets.cifar import FLIPS, PADDINGS, cifar10, cifar100
from ...datasets.sampling import Splits, mislabel
from ...scripts import ZooConfig, preset, train
from ...training.config import MixupConfig, data_setting, network_setting, setting
from .recipes import CIFAR10_RECIPES, parse_stages, recipe_setting

DATASETS = {"cifar10": cifar10, "cifar100": cifar100}


@dataclass(frozen=True)
class Cifar10(MixupConfig, ZooConfig):
    data_dir: str = ZooConfig.redefine(
        "data_dir", "data/cifar10", help="folder of the data set, downloaded if missing"
    )
    dataset: str = data_setting(
        "cifar10",
        "data set; the default --data-dir of cifar100 is data/cifar100",
        choices=tuple(DATASETS),
    )
    recipe: Optional[str] = recipe_setting(CIFAR10_RECIPES)
    label_noise: float = data_setting(
        0.0, "share of training images with the label of another class", low=0, high=1
    )
    num_layers: int = network_setting(
        56, "depth of the network", choices=(56, 92, 128, 164, 236, 452)
    )
    shape: str = network_setting(
        "wide",
        "wide: 7 to 42 M parameters; deep: deeper masks; slim: the paper's 1 to 10 M",
        choices=("wide", "deep", "slim"),
    )
    cutout: int = setting(
        0, "side of the blank square of cutout in training images", low=0, high=32
    )
    flip: str = setting(
        "random",
        "mirrored training images: random ones, or each in every other epoch",
        choices=FLIPS,
    )
    padding: str = setting("black", "padding of images for random crops", choices=tuple(PADDINGS))
    crop: int = setting(
        32, "side of random crops of the training images; smaller ones are faster", low=8, high=32
    )


def data(config: Cifar10) -> Splits:
    splits = DATASETS[config.dataset](
        config.data_dir,
        seed=config.seed,
        validation=config.validation,
        cutout=config.cutout,
        crop=config.crop,
        flip=config.flip,
        padding=config.padding,
    )
    return splits._replace(train=mislabel(splits.train, config.label_noise, config.seed))


def main(argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    defaults = preset(argv, "--dataset", {"cifar100": dict(data_dir="data/cifar100")})
    for config in parse_stages(Cifar10, CIFAR10_RECIPES, argv, prog, __doc__, defaults):
        train_network(config)


def train_network(config: Cifar10) -> None:
    name = f"cifar_residual_attention{config.num_layers}"
    if config.shape != "wide":
        name += "_" + config.shape
    train(
        config,
        name=f"{config.dataset}-{name}",
        network=lambda classes: config.network(name, classes),
        data=lambda: data(config),
    )
