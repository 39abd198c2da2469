"""Train RAM, a network that looks at a few small windows of an image, on MNIST.

python train/mnist_train.py --task cluttered60
"""

from __future__ import annotations

from dataclasses import dataclass

from gluon_attention.command_line import command
from gluon_attention.datasets.mnist import TASKS, mnist
from gluon_attention.scripts import ZooConfig
from gluon_attention.training.config import setting
from gluon_attention.training.engine import train
from gluon_attention.zoo.ram.task import REWARDS

MODELS = {
    "28": "ram_28",
    "translated60": "ram_translated_60",
    "cluttered60": "ram_cluttered_60",
    "cluttered100": "ram_cluttered_100",
}


@dataclass(frozen=True)
class Mnist(ZooConfig):
    data_dir: str = setting(
        "data/mnist", "folder that holds the data set, or gets it by download", decides=False
    )
    task: str = setting("28", "what the digits are shown on", choices=tuple(TASKS))
    glimpses: int = setting(0, "windows looked at; those of the paper if 0", low=0, high=100)
    samples: int = setting(
        10, "episodes averaged to validate and test", "-m", low=1, high=1000, decides=False
    )
    reward: str = setting(
        "gain",
        "what a glimpse is paid for: what it adds to the log-probability of the label, or, as in "
        "the paper, that the last answer is right",
        choices=REWARDS,
    )
    augment: float = setting(
        1.0, "how far training digits are moved, turned and scaled", low=0, high=10
    )
    epochs: int = setting(80, "passes over the training set", low=1)
    batch_size: int = setting(128, "images a device and step", "-b", low=1)
    optimizer: str = setting("adam", "optimizer", choices=("sgd", "nag", "adam", "lamb"))
    lr: float = setting(1e-3, "highest learning rate", "--learning-rate", low=0)
    weight_decay: float = setting(0.0, "weight decay, none on biases", "--wd", low=0)
    log_interval: int = setting(100, "steps between log points", low=1, decides=False)


def main() -> None:
    config = Mnist.parse(description=__doc__)
    looks = {"glimpses": config.glimpses} if config.glimpses else {}
    train(
        config,
        name="mnist-" + config.task,
        network=lambda classes: config.network(MODELS[config.task], classes, **looks),
        data=lambda batch_size, part: mnist(
            config.data_dir,
            batch_size,
            task=config.task,
            seed=config.seed,
            validation=config.validation,
            augment=config.augment,
            part=part,
        ),
    )


if __name__ == "__main__":
    command(main)
