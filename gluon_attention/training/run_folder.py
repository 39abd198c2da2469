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
        writes: whether this process writes it: the first worker of a run that trains.
    """

    def __init__(self, path: str, writes: bool) -> None:
        self.path, self.writes = path, writes

    def file(self, *names: str) -> str:
        return os.path.join(self.path, *names)

    def write_config(self, config: Config, description: Dict[str, Any]) -> None:
        """Write all settings, versions and `description`, which names the network and its data."""
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
        """Write the result of a run that is done; the last file that is written."""
        result = dict(result, peak_mb=peak_mb(), command=" ".join(sys.argv))
        write_text(self.file(RESULT), json.dumps(result, indent=1))

    def read_result(self, history: Sequence[Record]) -> Optional[Dict[str, Any]]:
        """The result of an earlier process that finished the run of this history, if one did."""
        try:
            with open(self.file(RESULT), encoding="utf-8") as file:
                result = json.load(file)
            # A different total time means an older run in the same folder, whose checkpoints are
            # gone.
            return result if result["seconds"] == total_seconds(history) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def peak_mb() -> int:
    """The largest memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def total_seconds(history: Sequence[Record]) -> float:
    """The training time of all epochs."""
    return sum(record["seconds"] for record in history)


def commit(root: str = ROOT) -> str:
    """The commit of this project's checkout, with a + if files differ; empty outside of one."""
    if not os.path.exists(os.path.join(root, ".git")):  # a repository further up is not ours
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
