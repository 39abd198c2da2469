"""The error that a mistake of the caller raises, and the check of a choice."""

from __future__ import annotations

from typing import Sequence


class UserError(ValueError):
    """A mistake of the caller: one sentence that says what is wrong, what is accepted, what to do.

    Command lines print it without a traceback and exit with status 2.
    """


def check_choice(option: str, value: str, accepted: Sequence[str]) -> None:
    """Refuse a value that is not one of the accepted words of an option."""
    if value not in accepted:
        listed = ", ".join(map(repr, accepted))
        raise UserError(f"{option} must be one of {listed}, not {value!r}")
