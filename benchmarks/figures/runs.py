"""What the folder of a run tells of it, for its rows."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Dict, NamedTuple

HIDDEN = ("--log-dir", "--data-dir", "--num-gpus", "--workers", "-j", "--backbone-weights")
START = "--start-from"
WEIGHTS = "best.params"  # what a run leaves to start from


class Run(NamedTuple):
    """A run that was taken to its end."""

    result: Dict[str, Any]
    config: Dict[str, Any]
    known: Dict[str, Any]  # what its rows have in common, as `rows.measured` takes it


def finished(folder: Path) -> Run:
    """The run of a folder; without its result, an OSError."""
    result = json.loads((folder / "result.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    known = {name: config["settings"][name] for name in ("seed", "epochs")}
    known.update(parameters=result["parameters"], command=portable_command(result["command"]))
    if config["commit"]:
        known["commit"] = config["commit"]
    return Run(result, config, known)


def portable_command(line: str) -> str:
    """The command of a run without what differs from machine to machine."""
    words, kept = shlex.split(line), ["python"]
    while words:
        word = words.pop(0)
        flag, _, value = word.partition("=")
        if flag in (*HIDDEN, START):
            value = value or (words.pop(0) if words else "")
            if flag == "--backbone-weights":
                kept.append("--backbone-weights=FILE")
            if flag == START:
                file = Path(value)
                ours = file.name == WEIGHTS
                kept += [START, f"runs/{file.parent.name}/{WEIGHTS}" if ours else file.name]
        else:
            kept.append(word)
    return shlex.join(kept)
