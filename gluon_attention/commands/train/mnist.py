"""Train RAM, a network that sees an image through a few small glimpses, on MNIST.

gluon-attention train mnist --task cluttered60
gluon-attention train mnist --recipe ram_cluttered_100
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from ...datasets.mnist import TASKS, mnist
from ...scripts import ZooConfig, network_flags, task_flags, train
from ...training.config import data_setting, setting
from ...zoo.ram.options import RamOptions, ReinforceOptions
from .recipes import MNIST_RECIPES, parse_stages, recipe_setting

MODELS = {
    "28": "ram_28",
    "translated60": "ram_translated_60",
    "cluttered60": "ram_cluttered_60",
    "cluttered100": "ram_cluttered_100",
    "cluttered100_4": "ram_cluttered_100",
}


@dataclass(frozen=True)
class Mnist(network_flags(RamOptions, "glimpses"), task_flags(ReinforceOptions), ZooConfig):
    data_dir: str = ZooConfig.redefine(
        "data_dir", "data/mnist", help="folder of the data set, downloaded if missing"
    )
    task: str = data_setting(
        "28", "canvas of the digits, which determines the network", choices=tuple(TASKS)
    )
    recipe: Optional[str] = recipe_setting(MNIST_RECIPES)
    optimizer: str = ZooConfig.redefine("optimizer", "adam")
    batch_size: int = ZooConfig.redefine("batch_size", 128)
    weight_decay: float = ZooConfig.redefine("weight_decay", 0.0)
    epochs: int = ZooConfig.redefine("epochs", 80)
    lr: float = ZooConfig.redefine("lr", 1e-3)
    augment: float = setting(
        1.0, "strength of random shift, rotation and scaling of training digits", low=0, high=10
    )
    log_interval: int = ZooConfig.redefine("log_interval", 100)


def main(argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    for config in parse_stages(Mnist, MNIST_RECIPES, argv, prog, __doc__):
        train_network(config)


def train_network(config: Mnist) -> None:
    train(
        config,
        name="mnist-" + config.task,
        network=lambda classes: config.network(MODELS[config.task], classes),
        data=lambda: mnist(
            config.data_dir,
            task=config.task,
            seed=config.seed,
            validation=config.validation,
            augment=config.augment,
        ),
    )
