"""Train the glimpse network on Stanford Dogs, on other fine-grained sets, or on generated scenes.

gluon-attention train dogs --data-dir data/stanford_dogs --backbone-weights resnet50.params
gluon-attention train dogs --dataset detail

Stage 1 trains the encoder to classify single patches, stage 2 the network that chooses them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Optional, Sequence

from ... import fields
from ...datasets.cub import cub200
from ...datasets.detail import detail
from ...datasets.sampling import Splits
from ...datasets.stanford_dogs import stanford_dogs
from ...errors import UserError
from ...scripts import BackboneConfig, network_flags, preset, task_flags, train
from ...training.config import BEST, data_setting, network_setting, schedule_setting
from ...zoo.glimpse.options import GlimpseOptions, StepOptions
from ...zoo.registry import entry, options_of

if TYPE_CHECKING:
    from ...zoo.attention_net import AttentionNet

FOLDERS = {"dogs": "stanford_dogs", "cub200": "CUB_200_2011"}
# Defaults for --dataset detail: a small network from scratch, for images of 192 pixels.
DETAIL = dict(
    model="detail",
    overlap=2,
    stage1_epochs=12,
    stage1_lr=2e-3,
    lr=2e-3,
    batch_size=16,
    epochs=20,
    validation=320,
)
SCENES = {"1": 4800, "2": 2400}  # training images of each stage
OPTIONS = network_flags(
    GlimpseOptions,
    *("backbone", "patch", "size", "stem_stride", "patches", "start_size", "glimpses", "regions"),
    *("reach", "hidden", "location", "policy", "std", "dropout", "frozen", "overlap"),
)


@dataclass(frozen=True)
class Dogs(OPTIONS, task_flags(StepOptions), BackboneConfig):
    data_dir: Optional[str] = BackboneConfig.redefine(
        "data_dir", None, help="folder of the data set (default: by its name, in data)"
    )
    dataset: str = data_setting(
        "dogs",
        "data set: breeds of dogs, birds, or generated scenes",
        choices=(*FOLDERS, "detail"),
    )
    validation: int = BackboneConfig.redefine("validation", 1200)
    workers: int = BackboneConfig.redefine("workers", 2, low=1)
    cache_features: bool = data_setting(
        True, "cached features in place of augmented images in stage 2, if the encoder is frozen"
    )
    test_features: bool = data_setting(False, "cached features in place of images in the test, too")
    model: str = network_setting(
        "resnet50",
        "network, named by its backbone or data set",
        choices=("resnet50", "mobilenet_v2", "detail"),
    )
    optimizer: str = BackboneConfig.redefine("optimizer", "adam")
    batch_size: int = BackboneConfig.redefine("batch_size", 32)
    weight_decay: float = BackboneConfig.redefine("weight_decay", 0.0)
    stage: str = schedule_setting(
        "both",
        "stage of training: 1 for the encoder, 2 for the rest of the network",
        choices=("1", "2", "both"),
        decides=False,
    )
    stage1_epochs: int = schedule_setting(20, "passes over the training set in stage 1", low=1)
    stage1_lr: float = schedule_setting(1e-4, "highest learning rate of stage 1", low=0)
    epochs: int = BackboneConfig.redefine("epochs", 100)
    lr: float = BackboneConfig.redefine("lr", 1e-4)


def data(config: Dogs, augment: bool = True) -> Splits:
    """The images that patches are cropped from."""
    options = entry(f"glimpse_{config.model}").options
    size = fields.replace(options, config.network_options()).image_size
    common = dict(size=size, seed=config.seed, validation=config.validation)
    if config.dataset == "detail":
        return detail(coarse=size // 4, train=SCENES[config.stage], **common)
    folder = config.data_dir or os.path.join("data", FOLDERS[config.dataset])
    common.update(augment=augment, workers=config.workers)
    if config.dataset == "cub200":
        return cub200(folder, short=size, **common)
    return stanford_dogs(folder, **common)


def stage2_data(config: Dogs, name: str) -> Splits:
    """Features if the encoder is pretrained and frozen, otherwise images."""
    from ...training.devices import choose_devices
    from ...zoo.glimpse.feature_cache import with_cached_features

    frozen = config.network_options().get("frozen", True)
    if not (frozen and config.cache_features and config.backbone_weights):
        return data(config)
    splits = data(config, augment=False)
    net = config.network(name, len(splits.classes))
    device = choose_devices(config.num_gpus)[0]
    net.encoder.collect_params().reset_ctx(device)
    folder = os.path.join(config.log_dir, "features")
    return with_cached_features(net, splits, folder, device, test=config.test_features)


def stage1_network(config: Dogs, name: str, classes: int) -> AttentionNet:
    """The encoder and its heads; its BatchNorm is frozen where it has pretrained statistics."""
    stage2_options = config.network_options()
    whole = fields.replace(entry(f"glimpse_{config.model}").options, stage2_options)
    options = {k: value for k, value in stage2_options.items() if k in options_of(name)}
    options.setdefault("reach", whole.reach or 1 - 1 / whole.regions)
    options.setdefault("frozen_bn", bool(config.backbone_weights))
    return config.network(name, classes, options)


def main(argv: Optional[Sequence[str]] = None, prog: Optional[str] = None) -> None:
    defaults = preset(argv, "--dataset", {"detail": DETAIL})
    config = Dogs.parse(argv, prog=prog, description=__doc__, defaults=defaults)
    network = f"glimpse_{config.model}"
    name = config.name or f"{config.dataset}-{network}"
    encoder = os.path.join(config.log_dir, f"{name}-stage1", BEST)
    if config.stage == "both" and config.distributed and not config.evaluate:
        raise UserError(
            f"--kvstore {config.kvstore} trains one network at a time: give --stage 1, then "
            f"--stage 2 --backbone-weights {encoder}"
        )
    if config.stage == "1" or config.stage == "both" and not config.evaluate:
        first = replace(config, stage="1", epochs=config.stage1_epochs, lr=config.stage1_lr)
        train(
            replace(first, name=f"{name}-stage1"),
            name=name,
            network=lambda classes: stage1_network(config, f"{network}_stage1", classes),
            data=lambda: data(first),
        )
    if config.stage != "1":
        if config.stage == "both":
            config = replace(config, stage="2", backbone_weights=encoder)
        train(
            config,
            name=name,
            network=lambda classes: config.network(network, classes),
            data=lambda: stage2_data(config, network),
        )
