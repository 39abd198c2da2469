"""`list`: names of the registered networks."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import UserError
from ..zoo.registry import list_models
from ._flags import add_json, add_verb
from .info import columns, describe

LINE = "{:34}{:>12}{:>16}  {:12}{:>7}  {}"
HEADINGS = ("name", "parameters", "multiply-adds", "input", "classes", "weights")


def add_parser(verbs: Any) -> None:
    parser = add_verb(verbs, "list", "names of networks", run, "'ram_*' -l")
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="shell pattern of the names, such as 'cifar_*' (default: all)",
    )
    parser.add_argument(
        "-l", "--long", action="store_true", help="size, input, classes and weights, too"
    )
    parser.add_argument(
        "--aliases", action="store_true", help="also names that other zoos use for these networks"
    )
    add_json(parser)


def run(flags: argparse.Namespace) -> None:
    names = list_models(flags.pattern, aliases=flags.aliases)
    if not names:
        raise UserError(f"no name matches '{flags.pattern}'; leave it out to list all")
    if flags.json:
        print(json.dumps([describe(name) for name in names] if flags.long else names))
    elif flags.long:
        print(LINE.format(*HEADINGS))
        for name in names:
            print(LINE.format(name, *columns(describe(name)).values()))
    else:
        print("\n".join(names))
