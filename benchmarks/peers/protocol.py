"""A contestant is a process: it reads requests as lines of JSON and writes replies likewise.

Both sides use the standard library only, because a contestant may run under another interpreter.
What libraries print goes to stderr, so that it does not mix with the replies.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

# Contestants start in the environment as it was before gluon_attention was imported, which sets the
# number of threads of its process.
ENVIRONMENT = dict(os.environ)


class Ready(NamedTuple):
    """A contestant that is set up: `run(steps)` returns when the last step is computed."""

    run: Callable[[int], None]
    parameters: int
    version: str
    multiply_adds: int = 0  # of an image; 0 where unknown


def serve(setup: Callable[[Dict[str, Any]], Ready]) -> None:
    """Reply to `setup` and `run` requests until stdin closes."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ready: Optional[Ready] = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "setup":
                ready = setup(request["case"])
                reply = {key: fact for key, fact in ready._asdict().items() if key != "run"}
            else:
                start = time.perf_counter()
                ready.run(request["steps"])
                reply = {"seconds": time.perf_counter() - start, "peak_mb": peak_mb()}
        except Exception as error:  # the benchmark reports it and goes on without us
            reason = str(error).strip().splitlines() or [""]
            reply = {"error": f"{type(error).__name__}: {reason[0]}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def options_of(case: Dict[str, Any]) -> Dict[str, Any]:
    """Options of a network; JSON has lists where Python had tuples."""
    options = case.get("options", {}).items()
    return {name: tuple(v) if isinstance(v, list) else v for name, v in options}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class WorkerError(Exception):
    """Why a contestant cannot take part, in one sentence."""


class Worker:
    """The process of a contestant; it is stopped when the `with` block ends."""

    def __init__(self, command: Sequence[str], env: Optional[Dict[str, str]] = None) -> None:
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=ENVIRONMENT if env is None else env,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(BrokenPipeError):  # the process may have ended before it read a request
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def ask(self, timeout: float = 600, **request: Any) -> Dict[str, Any]:
        """The reply to a request; a process without one for `timeout` seconds is killed."""
        timer = threading.Timer(timeout, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            with suppress(subprocess.TimeoutExpired):  # it may not have said yet why it ends
                self.process.wait(timeout=10)
            raise WorkerError(f"ended without a reply: {self.last_line()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def last_line(self) -> str:
        """The last line the process printed."""
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.poll()}"
