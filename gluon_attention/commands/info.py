"""`info`: size, input, classes and options of one network."""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict

from ..fields import declared
from ..zoo.costs import COSTS
from ..zoo.pretrained import all_weights
from ..zoo.registry import entry, options_of
from ._flags import add_json, add_verb


def add_parser(verbs: Any) -> None:
    parser = add_verb(verbs, "info", "size, input, classes and options of a network", run, "ram_28")
    parser.add_argument("name", metavar="NAME", help="registered name (gluon-attention list)")
    add_json(parser)


def run(flags: argparse.Namespace) -> None:
    network = describe(flags.name)
    if flags.json:
        print(json.dumps(network))
        return
    for key, value in {"name": network["name"], **columns(network)}.items():
        print(f"{key:15}{value}")
    print("options (the defaults of this name)")
    for option in declared(type(entry(flags.name).options)):
        value = f"{option.name}={network['options'][option.name]!r}"
        choices = option.metadata["choices"]
        accepted = " {" + ",".join(map(str, choices)) + "}" if choices else ""
        print(f"  {value:34}{option.metadata['help']}{accepted}")


def describe(name: str) -> Dict[str, Any]:
    """Facts of a registered network that need no weights."""
    registered = entry(name)
    parameters, multiply_adds = COSTS[registered.name]
    return dict(
        name=registered.name,
        parameters=parameters,
        multiply_adds=multiply_adds,
        shape=registered.shape,
        classes=registered.classes,
        weights=registered.name in all_weights(),
        options=options_of(registered.name),
    )


def columns(network: Dict[str, Any]) -> Dict[str, str]:
    """The facts of `describe` as text, without name and options."""
    return {
        "parameters": f"{network['parameters']:,}",
        "multiply-adds": f"{network['multiply_adds']:,}",
        "input": "x".join(map(str, network["shape"])),
        "classes": str(network["classes"]),
        "weights": "yes" if network["weights"] else "no",
    }
