"""Train RA-CNN, which looks closer and closer, on CUB-200-2011 or on a generated set like it.

python train/cub200_train.py --data-dir data/CUB_200_2011 --backbone-weights mobilenetv2_1.0.params
python train/cub200_train.py --dataset detail
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Tuple

from gluon_attention import get_model
from gluon_attention.command_line import command
from gluon_attention.datasets.cub import cub200
from gluon_attention.datasets.detail import detail
from gluon_attention.datasets.sampling import Splits
from gluon_attention.interop.load import load_backbone
from gluon_attention.ops.attention_crop import GRADIENTS
from gluon_attention.scripts import with_preset
from gluon_attention.training.config import Config, setting
from gluon_attention.training.engine import train
from gluon_attention.zoo.racnn.network import APNS
from gluon_attention.zoo.racnn.task import RESPONSES

# What fits the generated set; flags that are given come after these and replace them.
DETAIL = (
    "--backbone=tiny --size=192 --shrink=3 --crops=72,72 --smallest=0.65,0.85 --frozen-bn=0"
    " --response=energy --margin=0.3 --stages=7,6,2 --epochs=43 --lr-steps=41 --locate-lr=3"
    " --optimizer=adam --lr=1.5e-3 --wd=1e-4 -b=16 --validation=160"
).split()


@dataclass(frozen=True)
class Cub(Config):
    data_dir: str = setting("data/CUB_200_2011", "folder of images and their lists", decides=False)
    dataset: str = setting("cub", "birds, or generated scenes", choices=("cub", "detail"))
    model: str = setting("mobilenet_v2", "backbone", choices=("mobilenet_v2", "vgg19"))
    backbone: str = setting("", "any other of Gluon's networks, instead of --model's")
    backbone_weights: str = setting("", "its weights: .params or .pth; random if empty")
    size: int = setting(448, "side of the images", low=32, high=4096)
    crops: Tuple[int, ...] = setting(
        (224, 224), "sides of the crops, one for each scale", low=2, high=4096
    )
    shrink: int = setting(1, "how much smaller than the image the first scale is", low=1, high=64)
    shared: bool = setting(False, "one backbone for all scales")
    apn: str = setting("light", "network that proposes a box", choices=APNS)
    smallest: Tuple[float, ...] = setting(
        (1 / 3,),
        "smallest side of boxes in the view before: of all, or of each",
        low=0.05,
        high=0.85,
    )
    frozen_bn: bool = setting(True, "leave BatchNorm as it was loaded")
    gradient: str = setting("sampler", "what moves the boxes", choices=GRADIENTS)
    response: str = setting("mean", "what boxes are located by", choices=RESPONSES)
    margin: float = setting(0.05, "how much surer a closer look should be", low=0, high=1)
    stages: Tuple[int, ...] = setting(
        (6, 2, 1), "epochs: a scale grows, a box is located, a turn of answers or boxes", low=0
    )
    attend_lr: float = setting(0.1, "rate of the ranked boxes, as a share of --lr", low=0)
    locate_lr: float = setting(1.0, "rate of the located boxes, as a share of --lr", low=0)
    epochs: int = setting(40, "passes over the training set", low=1)
    batch_size: int = setting(8, "images a device and step", "-b", low=1)
    workers: int = setting(2, "threads that decode", "-j", low=1, high=512, decides=False)
    validation: int = setting(
        600,
        "training images kept to choose the best epoch (a tenth of those on disk at most)",
        low=1,
    )
    lr: float = setting(1e-3, "highest learning rate", "--learning-rate", low=0)
    weight_decay: float = setting(5e-4, "weight decay, none on BatchNorm and biases", "--wd", low=0)


def network(config: Cub, classes: int) -> Any:
    options = {name: getattr(config, name) for name in ("crops", "shrink", "shared", "apn")}
    options.update(frozen_bn=config.frozen_bn, smallest=config.smallest)
    if config.backbone:
        options["backbone"] = config.backbone
    net = get_model(f"racnn_{config.model}", classes=classes, **options)
    if config.backbone_weights:
        for backbone in net.body.backbones:
            load_backbone(backbone, config.backbone_weights)
    return net


def data(config: Cub) -> Splits:
    same = dict(size=config.size, seed=config.seed, validation=config.validation)
    if config.dataset == "detail":
        return detail(coarse=config.size // config.shrink, radius=(0.38, 0.5), **same)
    return cub200(config.data_dir, workers=config.workers, **same)


def main() -> None:
    words = with_preset("--dataset", "detail", DETAIL)
    config = Cub.parse(words, description=__doc__)
    train(
        config,
        name=f"{config.dataset}-racnn_{config.model}",
        network=lambda classes: network(config, classes),
        data=lambda: data(config),
    )


if __name__ == "__main__":
    command(main)
