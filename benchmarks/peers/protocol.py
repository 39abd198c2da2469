"""A contestant is a process: a line of JSON asks, a line of JSON answers.

Both ends are here and use the standard library only, because the far end may run under another
interpreter. What libraries print goes to stderr, so that it never mixes with the answers.
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


class Ready(NamedTuple):
    """A contestant that is set up: `run(steps)` returns when the last step is computed."""

    run: Callable[[int], None]
    parameters: int
    version: str
    multiply_adds: int = 0  # of an image, where it is known


def serve(setup: Callable[[Dict[str, Any]], Ready]) -> None:
    """Answer `setup` and `run` requests until stdin closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ready: Optional[Ready] = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "setup":
                ready = setup(request["case"])
                answer = {key: fact for key, fact in ready._asdict().items() if key != "run"}
            else:
                start = time.perf_counter()
                ready.run(request["steps"])
                answer = {"seconds": time.perf_counter() - start, "peak_mb": peak_mb()}
        except Exception as error:  # whatever it is, the asking side must hear of it
            reason = str(error).strip().splitlines() or [""]
            answer = {"error": f"{type(error).__name__}: {reason[0]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def options_of(case: Dict[str, Any]) -> Dict[str, Any]:
    """Options of a network; JSON has lists where Python had tuples."""
    given = case.get("options", {}).items()
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given}


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class WorkerError(Exception):
    """A contestant cannot take part; says why in one sentence."""


class Worker:
    """The near end: starts the process, asks, and stops it when the `with` block ends."""

    def __init__(self, command: Sequence[str], env: Optional[Dict[str, str]] = None) -> None:
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=env,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(BrokenPipeError):  # a request may be left that nobody reads any more
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def ask(self, timeout: float = 600, **request: Any) -> Dict[str, Any]:
        """The answer to a request; a process that is silent for `timeout` seconds is killed."""
        patience = threading.Timer(timeout, self.process.kill)
        patience.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            patience.cancel()
        if not line:
            raise WorkerError(f"ended without an answer: {self.last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def last_words(self) -> str:
        """The last line the process printed."""
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.poll()}"
