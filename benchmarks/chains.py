"""Add the test errors of runs to results.csv, with the commands of the runs they started from.

python benchmarks/chains.py runs/s5
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

from figures import rows
from figures.flags import Parser, number
from figures.runs import WEIGHTS, Run, finished


def of_chain(last: Path, data: str, samples: int = 0) -> List[rows.Row]:
    """The row of a run that was taken to its end; where episodes are averaged, that of one too."""
    runs = chain(last)
    config, result, known = runs[-1].config, runs[-1].result, runs[-1].known
    known["epochs"] = sum(run.known["epochs"] for run in runs)
    known["command"] = " && ".join(run.known["command"] for run in runs)
    if samples:
        result = measured_again(last, samples)
        known["command"] += f" && gluon-attention evaluate runs/{last.name} --samples {samples}"
    source = config["data"]["source"]
    data = data or "-".join(filter(None, [source["name"], source["options"].get("task")]))
    errors = {"": result["test_error"]}
    if "accuracy_m1" in result["test"]:
        one = 100 * (1 - result["test"]["accuracy_m1"])
        errors = {samples or config["settings"]["samples"]: result["test_error"], 1: one}
    return [
        rows.measured(
            config["network"]["name"], data, "test_error", error, "%", samples=episodes, **known
        )
        for episodes, error in errors.items()
    ]


def measured_again(run: Path, samples: int) -> Dict[str, Any]:
    """What a run finds with another number of episodes than it was tested with."""
    words = ["evaluate", str(run), "--samples", str(samples), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "gluon_attention", *words], capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return json.loads(done.stdout)


def chain(last: Path) -> List[Run]:
    """A run and those that its weights come from, the first one first."""
    runs = [finished(last)]
    while True:
        start = Path(runs[0].config["settings"]["start_from"])
        if start.name != WEIGHTS:  # untrained, or from elsewhere
            return runs
        runs.insert(0, finished(start.parent))


def main() -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of the last runs of chains")
    parser.add_argument("--data", default="", help="what the rows call the data set")
    parser.add_argument(
        "--samples", type=number(int, 1), default=0, metavar="N", help="episodes to average anew"
    )
    flags = parser.parse_args(sys.argv[1:])
    try:
        chains = [of_chain(run, flags.data, flags.samples) for run in flags.runs]
        rows.append([row for found in chains for row in found])
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
