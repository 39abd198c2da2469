"""Train a residual attention network on ImageNet, or on any folder of pictures with its layout.

gluon-attention train imagenet --num-layers 56 --data-dir data/imagenet --batch-size 64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence

from ...datasets.imagenet import imagenet
from ...scripts import ZooConfig, train
from ...training.config import MixupConfig, data_setting, network_setting, setting


@dataclass(frozen=True)
class ImageNet(MixupConfig, ZooConfig):
    data_dir: str = ZooConfig.redefine(
        "data_dir", "data/imagenet", help="folder with train and val, see data/README.md"
    )
    validation: int = ZooConfig.redefine("validation", 10000)
    workers: int = ZooConfig.redefine("workers", 4, low=1)
    num_layers: int = network_setting(
        56, "depth of the network", choices=(56, 92, 128, 164, 200, 236, 452)
    )
    model: Optional[str] = network_setting(
        None, "registered name of a network (default: that of --num-layers)"
    )
    epochs: int = ZooConfig.redefine("epochs", 120)
    warmup_epochs: float = ZooConfig.redefine("warmup_epochs", 5.0)
    size: int = data_setting(224, "height and width of the crops", low=32, high=4096)
    jitter: float = setting(
        0.4, "largest random change of brightness, contrast and saturation", low=0, high=1
    )
    lighting: float = setting(
        0.1, "standard deviation of the random change of the light's colour", low=0, high=10
    )
    label_smoothing: float = ZooConfig.redefine("label_smoothing", 0.1)


def main(argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    config = ImageNet.parse(argv, prog=prog, description=__doc__)
    name = config.model or f"residual_attention{config.num_layers}"
    train(
        config,
        name="imagenet-" + name,
        network=lambda classes: config.network(name, classes),
        data=lambda: imagenet(
            config.data_dir,
            size=config.size,
            seed=config.seed,
            validation=config.validation,
            workers=config.workers,
            jitter=config.jitter,
            lighting=config.lighting,
        ),
    )
