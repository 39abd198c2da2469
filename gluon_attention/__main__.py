"""Visual attention networks: list, use, explain, export and train them."""

from __future__ import annotations

import argparse
from typing import Optional, Sequence

from . import runtime
from .command_line import Parser, command
from .commands import convert, evaluate, explain, export, info, launch, predict, train
from .commands import list as list_

# In the order of --help.
VERBS = (list_, info, predict, evaluate, explain, export, convert, train, launch)
NEED_MXNET = ("predict", "evaluate", "explain", "export", "convert")  # whatever the flags are


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs and their flags."""
    parser = Parser(prog="gluon-attention", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in VERBS:
        module.add_parser(verbs)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run the `gluon-attention` command."""

    def run() -> None:
        flags = make_parser().parse_args(argv)
        if flags.verb in NEED_MXNET:
            runtime.import_mxnet()
        flags.run(flags)

    command(run)


if __name__ == "__main__":
    main()
