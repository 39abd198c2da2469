"""The folder of a run: its lock, `config.json`, `history.csv` and `result.json`."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence

from ..storage.atomic import write_text
from .config import Config
from .data_record import versions

Record = Dict[str, float]  # figures of one epoch
CONFIG, HISTORY, RESULT = "config.json", "history.csv", "result.json"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class RunFolder:
    """A run folder.

    Attributes:
        path: the folder.
        writes: whether this process writes to it: true for the first worker in training.
    """

    def __init__(self, path: str, writes: bool) -> None:
        self.path, self.writes = path, writes

    def file(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    def write_config(self, config: Config, description: Dict[str, Any]) -> None:
        """Write settings, versions, and the description of the network and its data."""
        data, run = os.path.realpath(config.data_dir), os.path.realpath(self.path)
        content = dict(
            settings=vars(config),
            data_folder=os.path.relpath(data, run),
            versions=versions(),
            commit=commit(),
            threads=os.environ.get("OMP_NUM_THREADS"),
            **description,
        )
        write_text(self.file(CONFIG), json.dumps(content, indent=1))

    def write_history(self, history: Sequence[Record]) -> None:
        """Write one row per epoch, with a column for every figure of any epoch."""
        names = list(dict.fromkeys(name for record in history for name in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in record.items()} for record in history)
        write_text(self.file(HISTORY), text.getvalue())

    def write_result(self, result: Dict[str, Any]) -> None:
        """Write the result of a complete run; the last file that a run writes."""
        result = dict(result, peak_mb=peak_mb(), command=" ".join(sys.argv))
        write_text(self.file(RESULT), json.dumps(result, indent=1))

    def read_result(self, history: Sequence[Record]) -> Optional[Dict[str, Any]]:
        """The result, if an earlier process completed the run of this history."""
        try:
            with open(self.file(RESULT), encoding="utf-8") as file:
                result = json.load(file)
            # A different total time means an older run in the same folder, whose checkpoints are
            # gone.
            return result if result["seconds"] == total_seconds(history) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def peak_mb() -> int:
    """The peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def total_seconds(history: Sequence[Record]) -> float:
    """The training time of all epochs."""
    return sum(record["seconds"] for record in history)


def commit(root: str = ROOT) -> str:
    """The commit of this checkout, with a + if files differ; empty outside of a checkout."""
    if not os.path.exists(os.path.join(root, ".git")):  # a repository above is another project's
        return ""
    if not _git(root, "ls-files", os.path.join("gluon_attention", "training", "run_folder.py")):
        return ""
    return _git(root, "describe", "--always", "--exclude=*", "--dirty=+")


def _git(folder: str, *arguments: str) -> str:
    command: List[str] = ["git", *arguments]
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip()
