"""Append figures of finished runs to results.csv.

python benchmarks/record.py runs/s5                            # test errors
python benchmarks/record.py --tta runs/slim56                  # with the error of mirrored views
python benchmarks/record.py --rows ablation runs/mixed-0 runs/naive-0
python benchmarks/record.py --rows scales --name "racnn_mobilenet_v2, tiny backbone" runs/detail-0

A run that started from another run's weights counts the epochs and names the commands of both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.fields import number

from figures import ablations, rows
from figures.rows import TTA
from figures.runs import Run, chain

CIFAR_IMAGES = 10_000  # of the test set; the sample in data/ has fewer
SCALE_METRICS = ("accuracy", "box", "side")


class Figure(NamedTuple):
    """One figure of a run, in percent."""

    metric: str
    value: float
    samples: Optional[int] = None  # episodes that were averaged


def errors(run: Run) -> List[Figure]:
    """The test error; where several episodes are averaged, that of a single one too."""
    scores, error = run.result["test"], run.result["test_error"]
    if "accuracy_m1" not in scores:
        mirrored = [Figure(TTA, run.result["tta"]["test_error"])] if "tta" in run.result else []
        return [Figure("test_error", error), *mirrored]
    single = Figure("test_error", 100 * (1 - scores["accuracy_m1"]), 1)
    return [Figure("test_error", error, run.config["settings"]["samples"]), single]


def ablation(run: Run) -> List[Figure]:
    """The test error on the whole test set of CIFAR."""
    images = run.result["test_images"]
    if images != CIFAR_IMAGES:
        raise UserError(f"tested on {images} images, not on the {CIFAR_IMAGES} of CIFAR")
    return [Figure(ablations.METRIC, run.result["test_error"])]


def scales(run: Run) -> List[Figure]:
    """Every score of the scales and boxes of RA-CNN."""
    scores = run.result["test"].items()
    return [Figure(name, 100 * score) for name, score in scores if name.startswith(SCALE_METRICS)]


KINDS = {"error": errors, "ablation": ablation, "scales": scales}


def ablation_name(config: Dict[str, Any]) -> str:
    """The network with the options and the type that set it apart from others."""
    settings = config["settings"]
    dtype = settings["dtype"] if settings["dtype"] != "bfloat16" else ""
    name = settings.get("peer") or config["network"]["name"]
    return ", ".join(filter(None, [name, settings["options"], dtype]))


def data_name(config: Dict[str, Any]) -> str:
    """The data set, with its task and the share of wrong labels."""
    source, settings = config["data"]["source"], config["settings"]
    name = "-".join(filter(None, [source["name"], (source.get("options") or {}).get("task")]))
    noise = settings.get("label_noise")
    return f"{name}, {100 * noise:g} % of labels wrong" if noise else name


def rows_of(folder: Path, flags: argparse.Namespace) -> List[rows.Row]:
    """All rows of one run."""
    runs = chain(folder)
    run = runs[-1]
    facts = dict(run.facts, epochs=sum(part.facts["epochs"] for part in runs))
    commands = list(dict.fromkeys(part.facts["command"] for part in runs))  # once of a recipe
    anew = ["--samples", str(flags.samples)] if flags.samples else ["--tta"] if flags.tta else []
    if anew:
        run = evaluate_again(run, folder, anew)
        commands.append(" ".join(["gluon-attention evaluate", f"runs/{folder.name}", *anew]))
    facts["command"] = " && ".join(commands)
    name = ablation_name(run.config) if flags.rows == "ablation" else run.config["network"]["name"]
    return [
        rows.measured(
            flags.name or name,
            flags.data or data_name(run.config),
            figure.metric,
            figure.value,
            "%",
            samples=figure.samples or "",
            **facts,
        )
        for figure in KINDS[flags.rows](run)
    ]


def evaluate_again(run: Run, folder: Path, flags: List[str]) -> Run:
    """The run with the results of `evaluate` with some flags: `--samples N`, or `--tta`."""
    words = ["evaluate", str(folder), *flags, "--json"]
    process = subprocess.run(
        [sys.executable, "-m", "gluon_attention", *words], capture_output=True, text=True
    )
    if process.returncode:
        raise UserError(process.stderr.strip())
    config = run.config
    if "--samples" in flags:
        config = dict(config, settings=dict(config["settings"], samples=int(flags[1])))
    return run._replace(result=json.loads(process.stdout), config=config)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Append the rows of all runs, or none."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--rows", choices=KINDS, default="error", help="kind of the rows")
    parser.add_argument("--name", help="name of the network in the rows")
    parser.add_argument("--data", help="name of the data set in the rows")
    parser.add_argument(
        "--samples", type=number(int, 1), metavar="N", help="number of episodes, evaluated anew"
    )
    parser.add_argument(
        "--tta", action="store_true", help="error with mirror images too, evaluated anew"
    )
    flags = parser.parse_args(argv)
    new: List[rows.Row] = []
    for folder in flags.runs:
        try:
            new += rows_of(folder, flags)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} is not the folder of a finished run: {error}") from None
    rows.append(new)


if __name__ == "__main__":
    command(main)
