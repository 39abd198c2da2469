"""Add what runs of RA-CNN found on their test images to results.csv, from their result.json.

python benchmarks/scales.py "racnn_mobilenet_v2, tiny backbone" detail runs/detail-0 runs/detail-1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

from figures import rows
from figures.flags import Parser
from figures.runs import finished

METRICS = ("accuracy", "box", "side")


def of_run(name: str, dataset: str, folder: Path) -> List[rows.Row]:
    """A row for every score of a run that was taken to its end."""
    run = finished(folder)
    return [
        rows.measured(name, dataset, metric, 100 * value, "%", **run.known)
        for metric, value in run.result["test"].items()
        if metric.startswith(METRICS)
    ]


def main() -> None:
    """Do what the flags say."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("name", help="what the rows call the network")
    parser.add_argument("dataset", help="and its data")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    flags = parser.parse_args(sys.argv[1:])
    try:
        rows.append([row for run in flags.runs for row in of_run(flags.name, flags.dataset, run)])
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
