"""The one error that is meant for people, and how a wrong word leads to it."""

from __future__ import annotations

from typing import Sequence


class UserError(ValueError):
    """A mistake of the caller: one sentence that says what is wrong, what is accepted, what to do.

    Command lines print it without a traceback and exit with status 2.
    """


def check_choice(option: str, value: str, accepted: Sequence[str]) -> None:
    """Refuse a value of an option that is none of the accepted words."""
    if value not in accepted:
        listed = ", ".join(map(repr, accepted))
        raise UserError(f"{option} must be one of {listed}, not {value!r}")
