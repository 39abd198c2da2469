"""What scripts accept that train any network of the zoo, from nothing or from weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mxnet as mx

from .deploy.weights import load_weights
from .training.config import Config, setting
from .zoo.registry import get_model, read_options


@dataclass(frozen=True)
class ZooConfig(Config):
    options: str = setting("", "of the network, such as attention=naive,mask=local")
    start_from: str = setting(
        "",
        "weights of such a network to start from, any file of docs/weights.md; of other classes "
        "all but the answers",
    )

    def network(self, name: str, classes: int) -> Any:
        """A network of the zoo as the settings want it."""
        net = get_model(name, classes=classes, **read_options(self.options))
        if self.start_from:
            load_weights(net, self.start_from, mx.cpu(), new_answers=True)
        return net
