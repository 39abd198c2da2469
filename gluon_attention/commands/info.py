"""`info`: size, input, classes and options of one network."""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict

from ..export.cost import cost
from ..zoo.pretrained import all_weights
from ..zoo.registry import entry, get_model, options_of
from ._flags import new_verb


def add_parser(verbs: Any) -> None:
    what = "What one network costs, takes and answers, and its options."
    parser = new_verb(verbs, "info", "one network", run, "ram_28", description=what)
    parser.add_argument("name", help="see gluon-attention list")
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(flags: argparse.Namespace) -> None:
    network = describe(flags.name)
    if flags.json:
        print(json.dumps(network))
        return
    for key, value in {"name": network["name"], **columns(network)}.items():
        print(f"{key:15}{value}")
    print("options")
    for key, value in network["options"].items():
        print(f"  {key}={value!r}")


def describe(name: str) -> Dict[str, Any]:
    """Facts of a registered network that need no weights."""
    registered = entry(name)
    return dict(
        name=registered.name,
        **cost(get_model(registered.name), registered.shape)._asdict(),
        shape=registered.shape,
        classes=registered.classes,
        weights=registered.name in all_weights(),
        options=options_of(registered.name),
    )


def columns(network: Dict[str, Any]) -> Dict[str, str]:
    """The facts of `describe`, without name and options, as text."""
    return {
        "parameters": f"{network['parameters']:,}",
        "multiply-adds": f"{network['multiply_adds']:,}",
        "input": "x".join(map(str, network["shape"])),
        "classes": str(network["classes"]),
        "weights": "yes" if network["weights"] else "no",
    }
