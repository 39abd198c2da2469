"""Train the glimpse network on Stanford Dogs, on other fine-grained sets, or on generated scenes.

python train/stanford_dogs_train.py --data-dir data/stanford_dogs --backbone-weights resnet50.params
python train/stanford_dogs_train.py --dataset detail
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Dict

from gluon_attention import UserError, get_model
from gluon_attention.command_line import command
from gluon_attention.datasets.cub import cub200
from gluon_attention.datasets.detail import detail
from gluon_attention.datasets.sampling import Splits
from gluon_attention.datasets.stanford_dogs import stanford_dogs
from gluon_attention.explain.pictures import animations, denormalise, pictures
from gluon_attention.explain.tiles import save_gif, save_png
from gluon_attention.interop.load import load_backbone
from gluon_attention.scripts import with_preset
from gluon_attention.storage.params import read_parameters, write_parameters
from gluon_attention.training import checkpoint
from gluon_attention.training.config import Config, setting
from gluon_attention.training.devices import choose_devices
from gluon_attention.training.engine import train
from gluon_attention.zoo.glimpse.feature_cache import with_cached_features
from gluon_attention.zoo.glimpse.network import LOCATIONS, POLICIES
from gluon_attention.zoo.glimpse.pretraining import PatchClassifier
from gluon_attention.zoo.glimpse.task import REWARDS

import mxnet as mx

FOLDERS = {"dogs": "stanford_dogs", "pets": "oxford_pets_dogs", "cub200": "CUB_200_2011"}
VISUAL = "-visual"  # what the run of stage 1 is called after that of stage 2
OPTIONS = ("patch", "size", "stem_stride", "patches", "start_size", "glimpses", "regions")
OPTIONS += ("hidden", "location", "policy", "dropout", "frozen", "overlap")  # also of the network
# What fits the generated set; flags that are given come after these and replace them.
DETAIL = (
    "--backbone=tiny --patch=48 --patches=2 --start-size=1 --regions=6 --reach=0.6 --hidden=128"
    " --visual-epochs=24 --visual-lr=2e-3 --lr=2e-3 -b=16 --epochs=60 --validation=320"
).split()


@dataclass(frozen=True)
class Dogs(Config):
    data_dir: str = setting("", "folder of the data set; by its name if empty", decides=False)
    dataset: str = setting(
        "dogs",
        "breeds, the few that are also Oxford's pets, birds, or generated scenes",
        choices=(*FOLDERS, "detail"),
    )
    task: str = setting(
        "train", "what to do", choices=("train", "test", "view-glimpses"), decides=False
    )
    resume: bool = setting(True, "go on where the run stopped", decides=False)
    stage: str = setting(
        "both",
        "1: the visual network learns resolutions; 2: the rest learns where to look",
        choices=("1", "2", "both"),
        decides=False,
    )
    model: str = setting("resnet50", "backbone", choices=("resnet50", "mobilenet_v2"))
    backbone: str = setting("", "any other of Gluon's networks, instead of --model's")
    backbone_weights: str = setting("", "its weights: .params or .pth; random if empty")
    frozen: bool = setting(True, "leave the visual network as it is in stage 2")
    features: str = setting(
        "{log_dir}/features",
        "folder that keeps what a frozen one sees; {log_dir} is --log-dir; none if empty",
        decides=False,
    )
    overlap: int = setting(
        4, "positions that features are kept at, in a window's side; 0: the middle", low=0
    )
    test_features: bool = setting(False, "test with kept features too, not with images")
    patch: int = setting(96, "side of the patches in pixels", low=16, high=1024)
    size: int = setting(0, "side of the images; four patches if 0", low=0, high=4096)
    stem_stride: int = setting(
        1, "of the first convolution; 0 for the backbone's own", low=0, high=8
    )
    patches: int = setting(
        2, "patches of a glimpse, each twice as wide as the one before", low=1, high=8
    )
    start_size: int = setting(2, "side of the first, in quarters of the image's", choices=(1, 2, 4))
    glimpses: int = setting(3, "glimpses", low=1, high=100)
    regions: int = setting(2, "regions a side that attention is over", low=2, high=64)
    reach: float = setting(0.0, "how far out regions lie; 0 for their middles", low=0, high=1)
    hidden: int = setting(2048, "width of the LSTM", low=1, high=65536)
    location: str = setting("differentiable", "how locations learn", choices=LOCATIONS)
    reward: str = setting("likely", "what drawn locations earn", choices=REWARDS)
    policy: str = setting("learned", "where glimpses look", choices=POLICIES)
    std: float = setting(
        -1.0, "spread of locations in training; 0.2 for sampled, else 0 if below 0", low=-1
    )
    dropout: float = setting(0.0, "of glimpses and of what answers are read from", low=0, high=0.99)
    visual_epochs: int = setting(20, "passes over the training set in stage 1", low=1)
    visual_lr: float = setting(1e-4, "highest learning rate of stage 1", low=0)
    epochs: int = setting(100, "passes over the training set in stage 2", low=1)
    batch_size: int = setting(32, "images a device and step", "-b", low=1)
    workers: int = setting(2, "threads that decode", "-j", low=1, high=512, decides=False)
    validation: int = setting(
        1200,
        "training images kept to choose the best epoch (a tenth of those on disk at most)",
        low=1,
    )
    optimizer: str = setting("adam", "optimizer", choices=("sgd", "nag", "adam", "lamb"))
    lr: float = setting(1e-4, "highest learning rate of stage 2", "--learning-rate", low=0)
    weight_decay: float = setting(0.0, "weight decay, none on BatchNorm and biases", "--wd", low=0)

    def deciding(self) -> Dict[str, Any]:
        """Kept features are not augmented, wherever they are kept."""
        return dict(super().deciding(), features="kept" if self.features else "")


def network(config: Dogs, classes: int, **more: Any) -> Any:
    """The glimpse network of stage 2."""
    options = {name: getattr(config, name) for name in OPTIONS}
    if config.backbone:
        options["backbone"] = config.backbone
    options.update(
        size=config.size or None,
        stem_stride=config.stem_stride or None,
        reach=config.reach or None,
        std=None if config.std < 0 else config.std,
    )
    net = get_model(f"glimpse_{config.model}", classes=classes, **options, **more)
    if config.backbone_weights:
        load_backbone(net.encoder.backbone, config.backbone_weights)
    return net


def visual(config: Dogs, classes: int) -> PatchClassifier:
    """The network of stage 1: all of its backbone learns, but for BatchNorm that was loaded."""
    loaded = bool(config.backbone_weights)
    net = network(dataclasses.replace(config, frozen=False), classes, frozen_bn=loaded)
    return PatchClassifier(net.encoder, classes, net.controller.reach)


def keep_backbone(file: str) -> None:
    """Save the best visual network of stage 1 without its heads, as --backbone-weights reads it."""
    best = os.path.join(os.path.dirname(file), checkpoint.BEST)
    arrays, prefix = read_parameters(best), "body.encoder.backbone.layers."
    arrays = {n[len(prefix) :]: a for n, a in arrays.items() if n.startswith(prefix)}
    write_parameters(file, lambda aside: mx.nd.save(aside, arrays))


def data(config: Dogs, augment: bool) -> Splits:
    """Images that glimpses are cut from."""
    size = config.size or 4 * config.patch
    same = dict(size=size, seed=config.seed, validation=config.validation)
    if config.dataset == "detail":
        return detail(coarse=size // 4, **same)
    same.update(augment=augment, workers=config.workers)
    if config.dataset == "cub200":
        return cub200(config.data_dir, short=size, **same)
    return stanford_dogs(config.data_dir, **same)


def recalled(config: Dogs) -> Splits:
    """Data of stage 2: features instead of images where they can be kept."""
    if not (config.frozen and config.features and config.backbone_weights):
        return data(config, augment=True)
    splits = data(config, augment=False)
    net = network(config, len(splits.classes))
    device = choose_devices(config.num_gpus)[0]
    net.encoder.collect_params().reset_ctx(device)
    return with_cached_features(net, splits, config.features, device, test=config.test_features)


def view_glimpses(config: Dogs, folder: str) -> None:
    """Pictures of what the best network of a run looks at in the first test images."""
    best = os.path.join(folder, checkpoint.BEST)
    if not os.path.exists(best):
        raise UserError(f"{folder} holds no trained network: run without --task view-glimpses")
    splits = data(config, augment=False)
    net = network(config, len(splits.classes))
    checkpoint.load_weights(best, net, [mx.cpu()])
    raw = denormalise(splits.test.first(8), splits.mean, splits.std)
    path = os.path.join(folder, "glimpses")
    save_png(path + ".png", pictures(net, raw, splits.mean, splits.std)["patches"])
    frames = animations(net, raw, splits.mean, splits.std)["patches"]
    save_gif(path + ".gif", frames)
    print(f"pictures  {path}.png, {path}.gif")


def check(config: Dogs, folder: str) -> None:
    """Refuse what would end one stage after another, or go on where nothing should."""
    for stage, run in (("1", folder + VISUAL), ("2", folder)):
        wanted = config.stage in (stage, "both")
        if wanted and not config.resume and os.path.exists(os.path.join(run, checkpoint.LAST)):
            raise UserError(f"{run} holds a run: give another --name, or --resume to go on")
    several = config.kvstore.startswith("dist") or config.kvstore == "horovod"
    if config.stage == "both" and several and not config.evaluate:
        raise UserError(
            f"--kvstore {config.kvstore} trains one network a start: give --stage 1, then "
            f"--stage 2 --backbone-weights {os.path.join(folder + VISUAL, 'backbone.params')}"
        )


def train_visual(config: Dogs, name: str) -> str:
    """Stage 1, of which stage 2 needs the file that is returned; a test of stage 2 only that."""
    file = os.path.join(config.log_dir, name, "backbone.params")
    if config.stage == "1" or not config.evaluate:
        changed = dict(name=name, epochs=config.visual_epochs, lr=config.visual_lr)
        found = train(
            dataclasses.replace(config, **changed),
            name=name,
            network=lambda classes: visual(config, classes),
            data=lambda: data(config, augment=True),
        )
        if found:  # by the first worker, who alone knows when the best weights are written
            keep_backbone(file)
    return file


def main() -> None:
    words = with_preset("--dataset", "detail", DETAIL)
    config = Dogs.parse(words, description=__doc__)
    data_dir = config.data_dir or os.path.join("data", FOLDERS.get(config.dataset, ""))
    testing = config.evaluate or config.task == "test"
    features = config.features.replace("{log_dir}", config.log_dir)
    config = dataclasses.replace(config, data_dir=data_dir, features=features, evaluate=testing)
    name = config.name or f"{config.dataset}-glimpse_{config.model}"
    folder = os.path.join(config.log_dir, name)
    if config.task == "view-glimpses":
        return view_glimpses(config, folder)
    check(config, folder)
    if config.stage in ("1", "both"):
        learned = train_visual(config, name + VISUAL)
        config = dataclasses.replace(config, backbone_weights=learned)
    if config.stage in ("2", "both"):
        train(
            config,
            name=name,
            network=lambda classes: network(config, classes),
            data=lambda: recalled(config),
        )


if __name__ == "__main__":
    command(main)
