"""Train a residual attention network on CIFAR-10 or CIFAR-100.

python train/cifar10_train.py --num-layers 92 --epochs 200 --lr-steps 80,120 --mix-up 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from gluon_attention.command_line import command
from gluon_attention.datasets.cifar import cifar10, cifar100
from gluon_attention.datasets.sampling import Splits, mislabel
from gluon_attention.scripts import ZooConfig, with_preset
from gluon_attention.training.config import setting
from gluon_attention.training.engine import train

DATASETS = {"cifar10": cifar10, "cifar100": cifar100}


@dataclass(frozen=True)
class Cifar10(ZooConfig):
    dataset: str = setting(
        "cifar10", "cifar100 lies in data/cifar100 unless --data-dir is given", choices=[*DATASETS]
    )
    data_dir: str = setting(
        "data/cifar10", "folder that holds the data set, or gets it by download", decides=False
    )
    num_layers: int = setting(56, "depth of the network", choices=(56, 92, 128, 164, 236, 452))
    shape: str = setting(
        "wide",
        "wide: 7 to 42 M parameters; deep: deeper masks; slim: the paper's 1 to 10 M",
        choices=("wide", "deep", "slim"),
    )
    cutout: int = setting(
        0, "side of a square that is blanked in each training image", low=0, high=32
    )
    crop: int = setting(
        32, "side of the training images; below 32 they are parts, faster", low=8, high=32
    )
    label_noise: float = setting(
        0.0, "share of training images that get the label of another class", low=0, high=1
    )


def data(config: Cifar10, batch_size: int, part: Tuple[int, int]) -> Splits:
    splits = DATASETS[config.dataset](
        config.data_dir,
        batch_size,
        seed=config.seed,
        validation=config.validation,
        cutout=config.cutout,
        crop=config.crop,
        part=part,
    )
    mislabel(splits.train, config.label_noise, len(splits.classes), config.seed)
    return splits


def main() -> None:
    words = with_preset("--dataset", "cifar100", ["--data-dir=data/cifar100"])
    config = Cifar10.parse(words, description=__doc__)
    name = f"cifar_residual_attention{config.num_layers}"
    if config.shape != "wide":
        name += "_" + config.shape
    train(
        config,
        name=f"{config.dataset}-{name}",
        network=lambda classes: config.network(name, classes),
        data=lambda batch_size, part: data(config, batch_size, part),
    )


if __name__ == "__main__":
    command(main)
