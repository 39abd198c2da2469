"""Ctrl-C and SIGTERM, which schedulers send before they kill, end a run between two steps."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Optional


class Stopped(KeyboardInterrupt):
    """A run was asked to stop and did, with nothing half done; `status` is the exit status."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = 128 + number


class StopRequest:
    """Within its block a first signal is kept for `check()`; a second one acts at once."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, told: str = "stopping after this step; Ctrl-C again stops at once") -> None:
        self.told = told
        self.received: Optional[int] = None
        self.before: Any = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # others get no signals
            self.before = {number: signal.signal(number, self._note) for number in self.signals}
        return self

    def __exit__(self, *raised: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def check(self, then: str = "") -> None:
        """End the run here if that was asked for; `then` says how to go on."""
        if self.received:
            name = signal.Signals(self.received).name
            raise Stopped(self.received, f"stopped by {name}; {then}")

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        self.__exit__()
        print(self.told, file=sys.stderr, flush=True)
