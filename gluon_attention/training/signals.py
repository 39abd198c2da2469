"""Ctrl-C, and the SIGTERM that job schedulers send, end a run between two steps."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any, Dict, Optional


class Stopped(KeyboardInterrupt):
    """A run stopped between two steps on request; `status` is the exit status."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.status = 128 + number


class StopRequest:
    """Inside its block the first signal requests a stop, and the second one acts at once."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(
        self, message: str = "stopping after this step; Ctrl-C again stops at once"
    ) -> None:
        """`message` is printed at the first signal."""
        self.message = message
        self.received: Optional[int] = None
        self.previous: Dict[int, Any] = {}  # handlers by signal

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # other threads get no signals
            self.previous = {n: signal.signal(n, self._receive) for n in self.signals}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def check(self, advice: str = "") -> None:
        """Raise `Stopped` if a signal was received; `advice` says how to resume."""
        if self.received:
            name = signal.Signals(self.received).name
            raise Stopped(self.received, f"stopped by {name}; {advice}")

    def _receive(self, number: int, frame: Optional[FrameType]) -> None:
        self.received = number
        self.__exit__()
        print(self.message, file=sys.stderr, flush=True)
