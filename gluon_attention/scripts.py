"""Shared by the training scripts: flags of networks and tasks, and networks built from them.

MXNet is imported inside functions, so that reading flags does not need it.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

from . import fields, runtime
from .errors import UserError
from .training.config import NETWORK, TASK, Config, network_setting
from .zoo.registry import read_options

if TYPE_CHECKING:
    from .zoo.attention_net import AttentionNet


def train(config: Config, **parts: Any) -> None:
    """Import MXNet and call `training.engine.train`."""
    runtime.import_mxnet()
    from .training import engine

    engine.train(config, **parts)


def network_flags(options: type, *names: str) -> type:
    """A base class for the settings of a script: a flag for each option of a network.

    A flag that is left out is None, and the network keeps the default of its name.

    Args:
        options: the dataclass that declares the options of a family. An option whose choices
            cannot all be trained lists the trainable ones in its metadata `trainable`.
        names: options that get a flag; all of them by default.
    """
    flags = []
    for field in fields.declared(options):
        if field.name in names or not names:
            metadata = dict(field.metadata, group=NETWORK, decides=True, of_network=True)
            help, _, default_text = metadata["help"].partition(", None for ")
            if field.default is not None or not default_text:
                default_text = "the network's own"
            metadata["help"] = f"{help} (default: {default_text})"
            metadata["choices"] = metadata.get("trainable", metadata["choices"])
            default = dataclasses.field(default=None, metadata=metadata)
            flags.append((field.name, Optional[field.annotation], default))
    return dataclasses.make_dataclass(options.__name__ + "Flags", flags, frozen=True)


def task_flags(options: type) -> type:
    """A base class for the settings of a script: a flag for each option of a task."""
    flags = []
    for field in fields.declared(options):
        metadata = {"decides": True, **field.metadata, "group": TASK}
        default = dataclasses.field(default=field.default, metadata=metadata)
        flags.append((field.name, field.annotation, default))
    return dataclasses.make_dataclass(options.__name__ + "Flags", flags, frozen=True)


def options_of_flags(config: Config) -> Dict[str, Any]:
    """The options of a network that the flags of `network_flags` set."""
    names = [f.name for f in dataclasses.fields(config) if f.metadata.get("of_network")]
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


@dataclass(frozen=True)
class ZooConfig(Config):
    """Settings of scripts that train any network of a family, from scratch or from weights."""

    options: str = network_setting("", "options of the network, such as attention=naive,mask=local")
    start_from: Optional[str] = network_setting(
        None,
        "file of weights to start from, see docs/weights.md; the head is new if the classes differ",
    )

    def network_options(self) -> Dict[str, Any]:
        """The options of the network that the settings name."""
        options, flags = read_options(self.options), options_of_flags(self)
        for option in sorted(set(options) & set(flags)):
            raise UserError(f"--{option} and --options both set {option}: leave out one")
        return {**options, **flags}

    def network(
        self, name: str, classes: int, options: Optional[Dict[str, Any]] = None
    ) -> AttentionNet:
        """A network of the zoo, with the weights of `start_from` if that is set.

        Args:
            options: in place of `network_options()`.
        """
        import mxnet as mx

        from .interop.load import load_weights
        from .zoo.build import get_model

        options = self.network_options() if options is None else options
        net = get_model(name, classes=classes, **options)
        if self.start_from:
            load_weights(net, self.start_from, mx.cpu(), new_head=True)
        return net


@dataclass(frozen=True)
class BackboneConfig(ZooConfig):
    """Settings of scripts whose networks have a pretrained backbone."""

    backbone_weights: Optional[str] = network_setting(
        None, "file of weights of the backbone, see docs/weights.md (default: random)"
    )

    def network(
        self, name: str, classes: int, options: Optional[Dict[str, Any]] = None
    ) -> AttentionNet:
        from .interop.load import load_backbone
        from .zoo.backbones import Backbone
        from .zoo.freezing import walk_blocks

        if self.backbone_weights and self.start_from:
            raise UserError("--start-from holds a backbone, too: leave out --backbone-weights")
        net = super().network(name, classes, options)
        if self.backbone_weights:
            for block in walk_blocks(net):
                if isinstance(block, Backbone):
                    load_backbone(block, self.backbone_weights)
        return net


def preset(
    argv: Optional[Sequence[str]], flag: str, presets: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The defaults that a value of one flag brings for other flags.

    Args:
        argv: the arguments; those of this process if None.
        flag: the flag, such as --dataset.
        presets: defaults by the values of the flag.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value", nargs="?")
    return presets.get(parser.parse_known_args(argv)[0].value, {})
