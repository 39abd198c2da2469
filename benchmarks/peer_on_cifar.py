"""Train a network of GluonCV on CIFAR-10 by our loop, for rows beside those of ours.

python benchmarks/peer_on_cifar.py --peer cifar_resnet56_v2 --label-noise 0.3

The other flags are those of train/cifar10_train.py, but for those of the network.
"""

from __future__ import annotations

import os
import runpy
from dataclasses import dataclass
from typing import Any, NamedTuple

from gluon_attention import UserError
from gluon_attention.command_line import command
from gluon_attention.training.config import setting
from gluon_attention.training.engine import train
from gluon_attention.zoo.attention_net import AttentionNet

import mxnet as mx
from gluoncv import model_zoo

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = runpy.run_path(os.path.join(ROOT, "train", "cifar10_train.py"))


@dataclass(frozen=True)
class PeerOnCifar(OURS["Cifar10"]):  # type: ignore[misc]
    peer: str = setting("cifar_resnet56_v2", "name in GluonCV's model zoo")


class Logits(NamedTuple):
    """All that such a network can show."""

    logits: mx.nd.NDArray


class Peer(AttentionNet):
    """A network of logits only, as the loop wants it."""

    Trace = Logits
    dtypes = ("float32", "bfloat16")

    def __init__(self, name: str, classes: int) -> None:
        if name not in model_zoo.get_model_list():
            raise UserError(f"--peer {name}: no network of GluonCV, try cifar_resnet56_v2")
        super().__init__(model_zoo.get_model(name, classes=classes))
        self.classes = classes

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.body(images)

    def trace(self, images: Any) -> Logits:
        return Logits(self.body(images))


def main() -> None:
    config = PeerOnCifar.parse(description=__doc__)
    for flag in ("num_layers", "shape", "options", "start_from"):
        if getattr(config, flag) != getattr(PeerOnCifar, flag):
            raise UserError(f"--{flag.replace('_', '-')} is for our networks, not for --peer")
    train(
        config,
        name=f"{config.dataset}-{config.peer}",
        network=lambda classes: Peer(config.peer, classes),
        data=lambda: OURS["data"](config),
    )


if __name__ == "__main__":
    command(main)
