"""What a step costs with other workers, measured on this machine and as docs/scaling.md predicts.

One worker alone, one with a parameter server, two with a server, and two under Horovod where that
is installed; each worker on a core of its own if there are as many. The first two runs give the
seconds of computing and of the wire, and the model then says what the others should do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from figures import rows
from figures.flags import Parser, number

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "scaling_worker.py")
ROOT = os.path.dirname(os.path.dirname(WORKER.rpartition(os.sep)[0]))
NETWORKS = {"ram_28": 40, "cifar_residual_attention56": 3}  # name: steps an epoch
EPOCHS = 4  # the first is not counted


class Run(NamedTuple):
    """How a job is started, and how many workers compute in it."""

    engine: str
    workers: int

    def words(self) -> List[str]:
        if self.engine == "alone":
            return [sys.executable, WORKER]
        if self.engine == "horovod":
            return ["horovodrun", "-np", str(self.workers), "--gloo", sys.executable, WORKER]
        launch = [sys.executable, "-m", "gluon_attention", "launch"]
        return [*launch, "-n", str(self.workers), "-s", "1", "--", sys.executable, WORKER]


RUNS = [Run("alone", 1), Run("dist_sync", 1), Run("dist_sync", 2), Run("horovod", 2)]


class Figures(NamedTuple):
    """What a job did, per step and worker."""

    seconds: float  # median of the epochs
    counted: float  # bytes that gradients have on their way out and back
    carried: float  # bytes that came through the loopback device
    parameters: int


def measure(run: Run, network: str, batch: int, steps: int) -> Figures:
    """Run a job."""
    with tempfile.TemporaryDirectory() as folder:
        asked = dict(folder=folder, network=network, batch=batch, steps=steps, epochs=EPOCHS)
        asked["workers"] = run.workers
        asked["kvstore"] = "device" if run.engine == "alone" else run.engine
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        path = [os.path.dirname(sys.executable), environment["PATH"]]
        environment["PATH"] = os.pathsep.join(path)
        done = subprocess.run(
            [*run.words(), json.dumps(asked)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        told = os.path.join(folder, "figures.json")
        if done.returncode or not os.path.exists(told):
            raise SystemExit(f"error: {run.engine} failed: {done.stderr.strip()[-300:]}")
        with open(told, encoding="utf-8") as file:
            return Figures(**json.load(file))


def model(run: Run, alone: float, served: float) -> float:
    """Seconds of a step by docs/scaling.md, from those of a worker alone and with a server."""
    wire = max(served - alone, 0)  # G/B + 2a
    if run.engine == "horovod":  # 2 (n-1)/n G/B
        return alone + 2 * (run.workers - 1) / run.workers * wire
    return alone + (run.workers * wire if run.engine == "dist_sync" else 0)  # n/s G/B


def table(network: str, batch: int, found: Dict[Run, Figures]) -> List[Dict[str, Any]]:
    """Measured and predicted figures of the runs."""
    alone, served = (found[run].seconds for run in RUNS[:2])
    lines = []
    for run, figures in found.items():
        images = run.workers * batch
        lines.append(
            dict(
                run=run,
                measured=images / figures.seconds,
                model=images / model(run, alone, served),
                counted=figures.counted,
                carried=figures.carried,
                parameters=figures.parameters,
            )
        )
    return lines


def rows_of(network: str, batch: int, lines: Sequence[Dict[str, Any]]) -> List[rows.Row]:
    """The figures as rows of results.csv."""
    made = []
    for line in lines:
        run, known = line["run"], dict(parameters=line["parameters"])
        start = f"scaling_{run.engine}_{run.workers}x{batch}"
        for what, value, unit in (
            ("images_per_second", line["measured"], "images/s"),
            ("model_images_per_second", line["model"], "images/s"),
            ("bytes_per_step", line["counted"], "B"),
            ("carried_bytes_per_step", line["carried"], "B"),
        ):
            made.append(rows.measured(network, "random", f"{start}_{what}", value, unit, **known))
    return made


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure, print, and keep what was found if asked to."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--batch", type=number(int, 1), default=32, metavar="N", help="of a worker")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--smoke", action="store_true", help="two steps: does it work at all")
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if flags.smoke and flags.write:
        parser.error("--smoke figures mean nothing, so --write refuses them")
    asked = [sys.executable, "-c", "import horovod.mxnet"]
    ring = not subprocess.run(asked, capture_output=True).returncode
    for network in flags.networks:
        steps, found = 2 if flags.smoke else NETWORKS[network], {}
        print(f"\n{network}, batch {flags.batch} a worker", flush=True)
        for run in RUNS:
            if run.engine != "horovod" or ring:
                found[run] = measure(run, network, flags.batch, steps)
        lines = table(network, flags.batch, found)
        for line in lines:
            run = line["run"]
            print(
                f"{run.engine:10}{run.workers:2} workers{line['measured']:10.1f} images/s, model"
                f"{line['model']:10.1f}; bytes a step {line['counted']:12,.0f} counted,"
                f"{line['carried']:12,.0f} carried",
                flush=True,
            )
        if flags.write:
            rows.append(rows_of(network, flags.batch, lines))


if __name__ == "__main__":
    main()
