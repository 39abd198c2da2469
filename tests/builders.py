"""What tests of several rooms build: small networks, random images, a toy network and its data."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from gluon_attention import get_model, native
from gluon_attention.datasets.sampling import Normalise, Splits, array_samples
from gluon_attention.zoo.attention_net import AttentionNet

import mxnet as mx
import numpy as np
from mxnet import init, nd

SMALL_GLIMPSE = dict(classes=5, backbone="tiny", patch=16, hidden=8)
SMALL_STAGE1 = dict(classes=5, backbone="tiny", patch=16, patches=3, start_size=1, width=8)
SMALL_RACNN = dict(classes=5, backbone="tiny", crops=(16, 24))
SMALL_RAM = dict(patch=4, glimpses=3, widths=(8, 8, 12, 16, 8))
SMALL = {  # of each family: the options of a small network, and the shape of an image
    "cifar_residual_attention56_slim": ({}, (3, 32, 32)),
    "ram_28": (SMALL_RAM, (1, 28, 28)),
    "racnn_mobilenet_v2": (SMALL_RACNN, (3, 32, 32)),
    "glimpse_mobilenet_v2": (SMALL_GLIMPSE, (3, 64, 64)),
}

RESIDUAL_OPTIONS = [  # of residual attention networks: each uses other layers
    dict(),
    dict(mask_fusion="gluoncv", attention="naive"),
    dict(mask_activation="channel"),
    dict(mask_activation="spatial", mask="local"),
    dict(unit="next"),
]


def small_glimpse(location_scale: Optional[float] = None, **options: Any) -> Any:
    """A glimpse network for images of 64 pixels.

    A new one looks at the centre only: `location_scale` is the standard deviation of the weights
    of the layer that chooses locations, if not those of a new one.
    """
    net = get_model("glimpse_mobilenet_v2", **{**SMALL_GLIMPSE, **options})
    net.initialize(init.Xavier(magnitude=6))
    net.trace(images_of(1, 64))
    for name in ("first_score", "score") if location_scale else ():
        if hasattr(net.controller, name):
            weight = getattr(net.controller, name).weight
            weight.set_data(nd.random.normal(scale=location_scale, shape=weight.shape))
    return net


def small_patch_classifier(**options: Any) -> Any:
    """The first stage of the glimpse network for images of 64 pixels; its encoder reads patches."""
    net = get_model("glimpse_mobilenet_v2_stage1", **{**SMALL_STAGE1, **options})
    net.initialize(net.initializer)
    return net


def small_racnn(**options: Any) -> Any:
    """An RA-CNN for images of 32 pixels."""
    net = get_model("racnn_mobilenet_v2", **{**SMALL_RACNN, **options})
    net.initialize(net.initializer)
    net.trace(images_of(1, 32))
    return net


def small_ram(name: str = "ram_28", **options: Any) -> Any:
    """A RAM; its first input decides the shapes of its weights."""
    net = get_model(name, **{**SMALL_RAM, **options})
    net.initialize(init.Xavier())
    return net


def images_of(count: int, side: int, channels: int = 3) -> nd.NDArray:
    """Square images (N, C, H, W) of normal noise."""
    return nd.array(np.random.randn(count, channels, side, side))


class Toy(AttentionNet):
    """A network of a few hundred parameters that shows nothing but logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes, nn = classes, mx.gluon.nn
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation("relu"))
            self.body.add(nn.Dense(classes), nn.HybridLambda(lambda F, x: (x,)))

    def trace(self, images: Any) -> Any:
        return Logits(self(images))

    def lower(self, program: native.Program) -> native.Lowered:
        """So that tests of training are of the native library where it is built."""
        program.give(program.layers(program.images(), self.body[:3]))
        return native.Lowered(self.body[3])


class Logits(NamedTuple):
    """The trace of the toy."""

    logits: Any


def toy_splits() -> Splits:
    """Forty images of three classes that brightness tells apart."""
    labels = np.arange(40) % 3
    noise = np.random.RandomState(0).randint(60, size=(40, 1, 6, 6))
    images = (noise + 60 * labels[:, None, None, None]).astype("uint8")
    kind = dict(classes=3, transform=Normalise((0.5,), (0.25,)))
    train = array_samples(images, labels, **kind)
    validation = array_samples(images[:15], labels[:15], **kind)
    test = array_samples(images[15:25], labels[15:25], **kind)
    return Splits(train, validation, test, ["a", "b", "c"], (0.5,), (0.25,))
