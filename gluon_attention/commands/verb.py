"""What the `--help` of all verbs has in common."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any, Callable

WIDTH = 79


def new_verb(
    verbs: Any,
    verb: str,
    help: str,
    run: Callable[..., None],
    *examples: str,
    description: str = "",
) -> argparse.ArgumentParser:
    """A verb that says what it does, and shows examples that can be copied whole.

    Args:
        help: one line for the list of all verbs, without a full stop.
        examples: the words after the verb.
        description: sentences, where `help` does not say enough.
    """
    head = "examples:" if len(examples) > 1 else "example:"
    parser = verbs.add_parser(
        verb,
        help=help,
        description=textwrap.fill(description or help[0].upper() + help[1:] + ".", WIDTH),
        epilog="\n".join((head, *(f"  gluon-attention {verb} {e}" for e in examples))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser
