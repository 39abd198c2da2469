"""Finished runs, as rows of results.csv describe them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

HIDDEN = ("--log-dir", "--data-dir", "--num-gpus", "--workers", "-j", "--backbone-weights")
START = "--start-from"
WEIGHTS = "best.params"  # file of a run that another run starts from


class Run(NamedTuple):
    """A finished run."""

    result: Dict[str, Any]
    config: Dict[str, Any]
    facts: Dict[str, Any]  # keywords of `rows.measured` that all rows of the run share


def finished(folder: Path) -> Run:
    """Read the folder of a run; an OSError where it has no result."""
    result = json.loads((folder / "result.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    facts = {name: config["settings"][name] for name in ("seed", "epochs")}
    facts.update(parameters=result["parameters"], command=portable_command(result["command"]))
    if config["commit"]:
        facts["commit"] = config["commit"]
    return Run(result, config, facts)


def chain(folder: Path) -> List[Run]:
    """A run and the runs whose weights it started from, the first one first."""
    runs = [finished(folder)]
    while True:
        start = Path(runs[0].config["settings"].get("start_from") or "")
        if start.name != WEIGHTS:  # random weights, or weights from elsewhere
            return runs
        runs.insert(0, finished(start.parent))


def portable_command(line: str) -> str:
    """The command of a run without folders and devices of one machine."""
    words, portable = shlex.split(line), []
    program = Path(words.pop(0))
    if program.name == "__main__.py":  # python -m gluon_attention
        portable = ["gluon-attention"]
    elif program.suffix == ".py":
        portable = ["python", str(program)]
    else:  # installed, by its whole path
        portable = [program.name]
    while words:
        word = words.pop(0)
        flag, _, value = word.partition("=")
        if flag not in (*HIDDEN, START):
            portable.append(word)
            continue
        value = value or (words.pop(0) if words else "")
        if flag == "--backbone-weights":
            portable.append("--backbone-weights=FILE")
        if flag == START:
            file = Path(value)
            of_run = file.name == WEIGHTS
            portable += [START, f"runs/{file.parent.name}/{WEIGHTS}" if of_run else file.name]
    return shlex.join(portable)
