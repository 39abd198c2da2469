"""Add the test errors of finished runs on CIFAR-10 to results.csv, as ablations of a network.

python benchmarks/ablations.py runs/mixed-0 runs/naive-0 runs/resnet30-0
"""

from __future__ import annotations

import sys
from pathlib import Path

from figures import rows
from figures.ablations import METRIC
from figures.flags import Parser
from figures.runs import finished

IMAGES = 10_000  # of the test set; a sample has fewer


def of_run(folder: Path) -> rows.Row:
    """The row of a run that was taken to its end."""
    run = finished(folder)
    settings, images = run.config["settings"], run.result["test_images"]
    if images != IMAGES:
        raise ValueError(f"{folder} was tested on {images} images, not on the {IMAGES} of CIFAR")
    name = settings.get("peer") or run.config["network"]["name"]
    parts = [name, *filter(None, [settings["options"]])]
    if settings["dtype"] != "bfloat16":
        parts.append(settings["dtype"])
    data = settings.get("dataset", "cifar10")
    if settings["label_noise"]:
        data += f", {100 * settings['label_noise']:g} % of labels wrong"
    error = run.result["test_error"]
    return rows.measured(", ".join(parts), data, METRIC, error, "%", **run.known)


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
