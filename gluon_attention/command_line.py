"""What all programs of this package share: mistakes of the user are one line and status 2."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from typing import Any, Callable, Iterator, NoReturn, Sequence

from .errors import UserError


def command(main: Callable[[], None]) -> NoReturn:
    """Run a script: mistakes of the user are one line and status 2, a signal is 130 or 143."""
    if getattr(sys.stdout, "errors", None) == "strict":  # names of files may be no text
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(sys.stdout and _Output(sys.stdout)):  # there may be none
            try:
                main()
            finally:  # --help ends by an exception too
                print(end="", flush=True)
    except (UserError, KeyboardInterrupt) as error:
        _end(error)
    except BrokenPipeError:  # who reads the output, such as head, has enough
        sys.exit(141)
    sys.exit(0)


def end_imports() -> None:
    """End a program that fails or gets Ctrl-C while it imports this package as `command` would.

    Imports take seconds, and come before `command`. Who catches what they raise gets it as ever.
    """
    usual = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        if isinstance(error, (UserError, KeyboardInterrupt)) and _imported(trace):
            _end(error)
        usual(kind, error, trace)

    sys.excepthook = hook


def _imported(trace: Any) -> bool:
    """Whether an error comes from the import of a module of this package."""
    while trace:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if trace.tb_frame.f_code.co_name == "<module>" and name.split(".")[0] == __package__:
            return True
        trace = trace.tb_next
    return False


def _end(error: BaseException) -> NoReturn:
    """Tell a mistake of the user, or a signal, and exit."""
    if isinstance(error, UserError):
        told = " ".join(str(error).encode("utf-8", "backslashreplace").decode().split())
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2)
    print(str(error) or "interrupted", file=sys.stderr)
    sys.exit(getattr(error, "status", 130))


class _Output:
    """Standard output whose first failure is the last: the rest goes nowhere, without complaint."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._failing():
            return self.stream.write(text)

    def flush(self) -> None:
        with self._failing():
            self.stream.flush()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What could not be written is kept, and Python tries once more when it ends.
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise UserError(
                f"cannot write standard output: {error.strerror}; send it elsewhere, such as to a "
                "file on another disk"
            ) from None


class Parser(argparse.ArgumentParser):
    """Argparse whose mistakes are one sentence with a suggestion."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Nothing unknown is handed on: the verb that got it knows what is like it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        message = " ".join(message.split())  # words of the user may hold the end of a line
        for word in message.split():
            start = word.split("=")[0][:60]
            near = difflib.get_close_matches(start, self._option_string_actions, n=1)
            if message.startswith("unrecognized") and word.startswith("--") and near:
                raise UserError(f"unknown flag {word}; did you mean {near[0]}?")
        raise UserError(f"{message}; --help lists what is accepted")


def with_preset(flag: str, value: str, preset: Sequence[str]) -> Sequence[str]:
    """The words of this process, after those of a preset if they give a flag that value."""
    words = sys.argv[1:]
    given = f"{flag}={value}" in words or (flag, value) in zip(words, words[1:])
    return [*preset, *words] if given else words
