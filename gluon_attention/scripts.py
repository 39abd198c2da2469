"""What scripts accept that train any network of the zoo, from nothing or from weights."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Sequence

import mxnet as mx

from .errors import UserError
from .interop.load import load_weights
from .training.config import Config, setting
from .zoo.registry import get_model, read_options


@dataclass(frozen=True)
class ZooConfig(Config):
    options: str = setting("", "of the network, such as attention=naive,mask=local")
    start_from: str = setting(
        "",
        "weights of such a network to start from, any file of docs/weights.md; of other classes "
        "all but the answers, and for RAM of as many or fewer scales",
    )

    def network(self, name: str, classes: int, **options: Any) -> Any:
        """A network of the zoo as the settings want it; `options` have flags of their own."""
        given = read_options(self.options)
        for twice in sorted(set(given) & set(options)):
            raise UserError(f"--{twice} and --options both say {twice}: leave out one")
        net = get_model(name, classes=classes, **given, **options)
        if self.start_from:
            load_weights(net, self.start_from, mx.cpu(), new_answers=True)
        return net


def with_preset(flag: str, value: str, preset: Sequence[str]) -> Sequence[str]:
    """Arguments of this process, after those of a preset if they set a flag to that value."""
    arguments = sys.argv[1:]
    chosen = f"{flag}={value}" in arguments or (flag, value) in zip(arguments, arguments[1:])
    return [*preset, *arguments] if chosen else arguments
