"""Command lines of the benchmarks."""

from __future__ import annotations

import argparse
from typing import Any, Callable, NoReturn


class Parser(argparse.ArgumentParser):
    """Argparse whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; --help lists what is accepted\n")


def number(kind: type, low: float) -> Callable[[str], Any]:
    """A reader of numbers from `low` up."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value < 1e6:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least {low:g}")
        return value

    return read
