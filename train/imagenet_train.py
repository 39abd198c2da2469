"""Train a residual attention network on ImageNet, or on any folder of pictures laid out like it.

python train/imagenet_train.py --num-layers 56 --data-dir data/imagenet --batch-size 64
"""

from __future__ import annotations

from dataclasses import dataclass

from gluon_attention.command_line import command
from gluon_attention.datasets.imagenet import imagenet
from gluon_attention.scripts import ZooConfig
from gluon_attention.training.config import setting
from gluon_attention.training.engine import train

DEPTHS = (56, 92, 128, 164, 200, 236, 452)


@dataclass(frozen=True)
class ImageNet(ZooConfig):
    num_layers: int = setting(56, "depth of the network", choices=DEPTHS)
    model: str = setting("", "any other network of the zoo, instead of --num-layers")
    size: int = setting(224, "height and width of the crops", low=32, high=4096)
    jitter: float = setting(0.4, "change of brightness, contrast and saturation", low=0, high=1)
    lighting: float = setting(0.1, "change of the colour of light", low=0, high=10)
    data_dir: str = setting(
        "data/imagenet", "folder of train and val, see data/README.md", decides=False
    )
    workers: int = setting(4, "threads that decode", "-j", low=1, high=512, decides=False)
    validation: int = setting(
        10000,
        "training images kept to choose the best epoch (a tenth of them at most)",
        low=1,
    )
    epochs: int = setting(120, "passes over the training set", low=1)
    warmup_epochs: float = setting(5.0, "epochs in which the rate rises linearly from 0", low=0)
    label_smoothing: float = setting(
        0.1,
        "epsilon: every class gets epsilon/K, the true one 1 - epsilon more",
        "--epsilon",
        low=0,
        high=1,
    )


def main() -> None:
    config = ImageNet.parse(description=__doc__)
    name = config.model or f"residual_attention{config.num_layers}"
    train(
        config,
        name="imagenet-" + name,
        network=lambda classes: config.network(name, classes),
        data=lambda batch_size, part: imagenet(
            config.data_dir,
            batch_size,
            size=config.size,
            seed=config.seed,
            validation=config.validation,
            workers=config.workers,
            jitter=config.jitter,
            lighting=config.lighting,
            part=part,
        ),
    )


if __name__ == "__main__":
    command(main)
