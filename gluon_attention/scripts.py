"""What the training scripts share: networks of the zoo as the command line describes them."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence

import mxnet as mx

from . import fields
from .errors import UserError
from .interop.load import load_weights
from .training.config import NETWORK, Config, setting
from .zoo.attention_net import AttentionNet
from .zoo.registry import get_model, read_options


def network_flags(options: type, *names: str) -> type:
    """A base class for the settings of a script: a flag for each option of a network.

    A flag that is not given is None: the default of the network's own name holds.

    Args:
        options: the dataclass that declares the options of a family.
        names: those to offer; all if none is named.
    """
    flags = []
    for field in fields.declared(options):
        if field.name in names or not names:
            metadata = dict(field.metadata, group=NETWORK, decides=True, of_network=True)
            metadata["help"] += " (default: the network's own)"
            default = dataclasses.field(default=None, metadata=metadata)
            flags.append((field.name, Optional[field.annotation], default))
    return dataclasses.make_dataclass(options.__name__ + "Flags", flags, frozen=True)


def given_options(config: Config) -> Dict[str, Any]:
    """The options of a network that the flags of `network_flags` set."""
    names = [f.name for f in dataclasses.fields(config) if f.metadata.get("of_network")]
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


@dataclass(frozen=True)
class ZooConfig(Config):
    """Settings of scripts that train any network of a family, from scratch or from weights."""

    options: str = setting(
        "", "options of the network, such as attention=naive,mask=local", group=NETWORK
    )
    start_from: Optional[str] = setting(
        None,
        "file of weights to start from, see docs/weights.md; the head is new if the classes differ",
        group=NETWORK,
    )

    def network(self, name: str, classes: int) -> AttentionNet:
        """A network of the zoo with the options and weights that the settings name."""
        options, flags = read_options(self.options), given_options(self)
        for option in sorted(set(options) & set(flags)):
            raise UserError(f"--{option} and --options both say {option}: leave out one")
        net = get_model(name, classes=classes, **options, **flags)
        if self.start_from:
            load_weights(net, self.start_from, mx.cpu(), new_head=True)
        return net


def with_preset(flag: str, value: str, preset: Sequence[str]) -> Sequence[str]:
    """Arguments of this process, after those of a preset if they set a flag to that value."""
    arguments = sys.argv[1:]
    chosen = f"{flag}={value}" in arguments or (flag, value) in zip(arguments, arguments[1:])
    return [*preset, *arguments] if chosen else arguments
