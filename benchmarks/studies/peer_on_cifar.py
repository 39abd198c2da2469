"""Train a network of GluonCV on CIFAR-10 with our training loop, to compare with our networks.

python benchmarks/studies/peer_on_cifar.py --peer cifar_resnet56_v2 --label-noise 0.3

The other flags are those of train/cifar10_train.py, without those of our networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gluon_attention import UserError
from gluon_attention.command_line import command
from gluon_attention.commands.train.cifar10 import Cifar10, data
from gluon_attention.training.config import setting
from gluon_attention.training.engine import train
from gluon_attention.zoo.attention_net import AttentionNet

import mxnet as mx
from gluoncv import model_zoo


@dataclass(frozen=True)
class PeerOnCifar(Cifar10):
    """Settings of the script."""

    peer: str = setting("cifar_resnet56_v2", "name in GluonCV's model zoo")


class Logits(NamedTuple):
    """The trace of such a network."""

    logits: mx.nd.NDArray


class Peer(AttentionNet):
    """A network of GluonCV as an AttentionNet without attention."""

    Trace = Logits
    dtypes = ("float32", "bfloat16")

    def __init__(self, name: str, classes: int) -> None:
        if name not in model_zoo.get_model_list():
            raise UserError(f"--peer {name}: no network of GluonCV, try cifar_resnet56_v2")
        super().__init__()
        self.classes = classes
        with self.name_scope():
            self.body = model_zoo.get_model(name, classes=classes)

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.body(images)

    def trace(self, images: Any) -> Logits:
        return Logits(self.body(images))


def main() -> None:
    """Train the network."""
    config = PeerOnCifar.parse(description=__doc__)
    for flag in ("num_layers", "shape", "options", "start_from"):
        if getattr(config, flag) != getattr(PeerOnCifar, flag):
            raise UserError(f"--{flag.replace('_', '-')} is for our networks, not for --peer")
    train(
        config,
        name=f"{config.dataset}-{config.peer}",
        network=lambda classes: Peer(config.peer, classes),
        data=lambda: data(config),
    )


if __name__ == "__main__":
    command(main)
