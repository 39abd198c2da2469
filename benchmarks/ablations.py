"""Add the test errors of finished runs on CIFAR-10 to results.csv, as ablations of a network.

python benchmarks/ablations.py runs/mixed-0 runs/naive-0 runs/resnet30-0
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict

from figures import rows
from figures.ablations import METRIC
from figures.flags import Parser, command


def of_run(folder: Path) -> rows.Row:
    """The row of a run that was taken to its end."""
    result = json.loads((folder / "result.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    settings: Dict[str, Any] = config["settings"]
    known = dict(
        seed=settings["seed"],
        epochs=settings["epochs"],
        parameters=result["parameters"],
        command=command(result["command"]),
    )
    if config["commit"]:
        known["commit"] = config["commit"]
    name = settings.get("peer") or config["network"]["name"]
    data = "cifar10"
    if settings["label_noise"]:
        data += f", {100 * settings['label_noise']:g} % of labels wrong"
    parts = [name, *filter(None, [settings["options"]])]
    if settings["dtype"] != "bfloat16":
        parts.append(settings["dtype"])
    return rows.measured(", ".join(parts), data, METRIC, result["test_error"], "%", **known)


def main() -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    flags = parser.parse_args(sys.argv[1:])
    try:
        rows.append([of_run(run) for run in flags.runs])
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
