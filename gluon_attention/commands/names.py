"""`list` and `info`: what networks there are."""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, Iterable

from ..errors import UserError
from ..export.cost import cost
from ..zoo.pretrained import all_weights
from ..zoo.registry import entry, get_model, list_models, options_of
from .verb import new_verb

LINE = "{:34}{:>12}{:>16}  {:12}{:>7}  {}"  # of a long list


def add_parser(verbs: Any) -> None:
    names = new_verb(verbs, "list", "names of networks", show_list, "'ram_*' -l")
    names.add_argument("pattern", nargs="?", default="*", help="shell pattern, such as 'cifar_*'")
    names.add_argument("-l", "--long", action="store_true", help="parameters, input, classes too")
    names.add_argument("--aliases", action="store_true", help="names of other zoos too")
    what = "What one network costs, takes and answers, and its options."
    info = new_verb(verbs, "info", "one network", show_info, "ram_28", description=what)
    info.add_argument("name", help="see gluon-attention list")
    for verb in (names, info):
        verb.add_argument("--json", action="store_true", help="for scripts")


def describe(name: str) -> Dict[str, Any]:
    """What is known of a network before it is trained."""
    known = entry(name)
    return dict(
        name=known.name,
        **cost(get_model(known.name), known.shape)._asdict(),
        shape=known.shape,
        classes=known.classes,
        weights=known.name in all_weights(),
        options=options_of(known.name),
    )


def show_list(flags: argparse.Namespace) -> None:
    names = list_models(flags.pattern, aliases=flags.aliases)
    if not names:
        raise UserError(f"no name fits '{flags.pattern}'; without it, all are listed")
    rows: Iterable[Any] = map(describe, names) if flags.long else names
    if flags.json:
        print(json.dumps(list(rows)))
    elif flags.long:
        columns = ("name", "parameters", "multiply-adds", "input", "classes", "weights")
        print(LINE.format(*columns), flush=True)
        for row in rows:  # each takes up to a second: none waits for the others
            told = dict(shown(row), name=row["name"])
            print(LINE.format(*(told[column] for column in columns)), flush=True)
    else:
        print("\n".join(names))


def shown(row: Dict[str, Any]) -> Dict[str, str]:
    """What `describe` gives, but for the options, as people read it."""
    return {
        "parameters": f"{row['parameters']:,}",
        "multiply-adds": f"{row['multiply_adds']:,}",
        "input": "x".join(map(str, row["shape"])),
        "classes": str(row["classes"]),
        "weights": "yes" if row["weights"] else "no",
    }


def show_info(flags: argparse.Namespace) -> None:
    found = describe(flags.name)
    if flags.json:
        print(json.dumps(found))
        return
    for key, value in {"name": found["name"], **shown(found)}.items():
        print(f"{key:15}{value}")
    print("options")
    for key, value in found["options"].items():
        print(f"  {key}={value!r}")
