"""Shared by all programs: a mistake of the user is one line on stderr and exit status 2."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import sys
from typing import Any, Callable, NoReturn

from .errors import UserError


def printable(text: str) -> str:
    """Untrusted text, such as a file name, for a terminal: control characters are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def command(main: Callable[[], None]) -> NoReturn:
    """Run a program; its status is 2 after a mistake of the user, 130 or 143 after a signal."""
    if getattr(sys.stdout, "errors", None) == "strict":  # file names may not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            main()
        finally:  # --help ends by an exception too
            print(end="", flush=True)
    except (UserError, KeyboardInterrupt) as error:
        _end(error)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # Python flushes stdout again at exit: /dev/null in its place cannot fail a second time.
        with open(os.devnull, "wb") as devnull:
            os.dup2(devnull.fileno(), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader, such as `head`, has enough
            sys.exit(141)
        _end(UserError(f"cannot write standard output: {error.strerror}; send it to another disk"))
    sys.exit(0)


def end_in_a_line(kind: Any, error: BaseException, trace: Any) -> None:
    """A `sys.excepthook` for what happens before `command` is called."""
    if isinstance(error, UserError):
        _end(error)
    sys.__excepthook__(kind, error, trace)


def _end(error: BaseException) -> NoReturn:
    """Print a mistake of the user, or a signal, and exit."""
    if isinstance(error, UserError):
        message = printable(" ".join(str(error).split()))
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    print(str(error) or "interrupted", file=sys.stderr)
    sys.exit(getattr(error, "status", 130))


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence and suggest the nearest flag."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown flags here: only the verb's own parser knows which flags are similar."""
        flags, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return flags, unknown

    def error(self, message: str) -> NoReturn:
        message = " ".join(message.split())  # an argument may contain a newline
        for word in message.split():
            flag = word.split("=")[0][:60]
            similar = difflib.get_close_matches(flag, self._option_string_actions, n=1)
            if message.startswith("unrecognized") and word.startswith("--") and similar:
                raise UserError(f"unknown flag {word}; did you mean {similar[0]}?")
        raise UserError(f"{message}; --help lists what is accepted")
