"""Rows of results.csv, the one source of every figure in README and docs."""

from __future__ import annotations

import csv
import datetime
import io
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from typing import Any, List, NamedTuple, Optional, Sequence

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATH = os.path.join(FOLDER, "results.csv")


TTA = "tta_error"  # metric: the error of images averaged with their mirror images
REQUIRED = ("name", "dataset", "metric", "value", "unit", "machine", "date", "commit", "command")


class Row(NamedTuple):
    """One figure and how it was measured; all fields are text, as in the file."""

    name: str
    dataset: str
    metric: str  # test_error, or [train|inference][_bfloat16]_b<batch>_[images_per_second|...]
    value: str
    unit: str
    against: str  # the peer of a ratio
    samples: str  # number of episodes that RAM averages
    seed: str
    epochs: str
    parameters: str
    machine: str
    date: str
    commit: str
    command: str

    def problem(self) -> Optional[str]:
        """What is missing or impossible, or None."""
        trained = self.metric in ("test_error", TTA)
        required = REQUIRED + (("seed", "epochs", "parameters") if trained else ())
        for field in required:
            if not getattr(self, field).strip():
                return f"{field} is empty"
        for field, pattern in _PATTERNS.items():
            if getattr(self, field) and not re.fullmatch(pattern, getattr(self, field)):
                return f"{field} cannot be '{getattr(self, field)}'"
        if not math.isfinite(float(self.value)):
            return f"value cannot be '{self.value}'"
        if bool(self.against) != self.metric.endswith("ratio"):
            return "against belongs to a ratio, and to nothing else"
        return None


_PATTERNS = {
    "value": r"-?\d+(\.\d+)?(e[+-]?\d+)?",
    "samples": r"\d+",
    "seed": r"\d+",
    "epochs": r"\d+",
    "parameters": r"\d+",
    "date": r"\d{4}-\d\d-\d\d",
    "commit": r"[0-9a-f]{7,40}\+?",
}


def measured(
    name: str, dataset: str, metric: str, value: float, unit: str, against: str = "", **facts: Any
) -> Row:
    """A row of today, of this machine and commit.

    Args:
        against: peer of a ratio.
        facts: any of samples, seed, epochs, parameters, command, commit.
    """
    fields = dict(
        samples="", seed="", epochs="", parameters="", command=command(), machine=machine()
    )
    fields.update(date=datetime.date.today().isoformat(), commit=commit())
    fields.update({key: str(fact) for key, fact in facts.items()})
    return Row(name, dataset, metric, f"{value:.6g}", unit, against, **fields)


def command() -> str:
    """The command line of this process, seen from the root of the repository."""
    script = os.path.relpath(os.path.abspath(sys.argv[0]), os.path.dirname(FOLDER))
    words = ["python", script, *sys.argv[1:]]
    if "--torch-python" in words:  # a path of one machine
        index = words.index("--torch-python")
        del words[index : index + 2]
    return " ".join(map(shlex.quote, words))


def commit() -> str:
    """The commit that is checked out, with a + where tracked files differ from it."""
    git = ["git", "-C", FOLDER]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True
    )
    if head.returncode:
        return "0000000"
    edits = [line for line in changed.stdout.splitlines() if not line.endswith("results.csv")]
    return head.stdout.strip() + ("+" if edits else "")


def machine() -> str:
    """Processor and cores."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = re.search(r"model name\s*:\s*(.+)", file.read()).group(1)
    except (OSError, AttributeError):  # not Linux, or a processor without a name
        name = name or "unknown processor"
    return f"{name}, {os.cpu_count()} cores"


def read(path: str = PATH) -> List[Row]:
    """All rows; a row that is not complete is an error."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != Row._fields:
        raise ValueError(f"{path}: the first line must be {','.join(Row._fields)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(Row._fields):
            raise ValueError(f"{path}:{number}: {len(line)} values, not {len(Row._fields)}")
        rows.append(Row(*line))
        if rows[-1].problem():
            raise ValueError(f"{path}:{number}: {rows[-1].problem()}")
    return rows


def append(rows: Sequence[Row], path: str = PATH) -> None:
    """Add rows at the end: all of them, or none."""
    from gluon_attention.storage.atomic import write_text  # see peers/protocol.py

    for row in rows:
        if row.problem():
            raise ValueError(f"{row.name}, {row.metric}: {row.problem()}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows([*(read(path) if os.path.exists(path) else []), *rows])
    write_text(path, text.getvalue())
