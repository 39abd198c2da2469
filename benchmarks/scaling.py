"""Time of a step with several workers, measured on this machine and predicted by docs/scaling.md.

The runs: one worker alone, one with a parameter server, two with a server, and two under Horovod
where it is installed; each worker has a core of its own if there are enough. The first two runs
give the time of computing and of communication, from which the model predicts the others.

With --hostfile one, two and four workers run on machines of their own, with one server on the
first, and what counts are the bytes: those that each worker sends and receives, and those that the
busiest card carries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from gluon_attention import UserError
from gluon_attention.command_line import Parser, command
from gluon_attention.fields import number

from figures import rows

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "scaling_worker.py")
ROOT = os.path.dirname(os.path.dirname(WORKER.rpartition(os.sep)[0]))
NETWORKS = {"ram_28": 40, "cifar_residual_attention56": 3}  # name: steps per epoch
EPOCHS = 4  # the first is not timed


class Run(NamedTuple):
    """A job: how its workers communicate, and how many there are."""

    engine: str
    workers: int

    def command(self, hostfile: Optional[str] = None) -> List[str]:
        if self.engine == "alone":
            return [sys.executable, WORKER]
        if self.engine == "horovod":
            return ["horovodrun", "-np", str(self.workers), "--gloo", sys.executable, WORKER]
        launch = [sys.executable, "-m", "gluon_attention", "launch"]
        launch += ["-n", str(self.workers), "-s", "1"]
        launch += ["--hostfile", hostfile] if hostfile else []
        return [*launch, "--", sys.executable, WORKER]


RUNS = [Run("alone", 1), Run("dist_sync", 1), Run("dist_sync", 2), Run("horovod", 2)]
MACHINES = (1, 2, 4)  # workers, of runs with --hostfile


class Figures(NamedTuple):
    """Figures of a job, per step and worker."""

    seconds: float  # median of the epochs
    counted: float  # bytes of gradients sent and weights received
    carried: float  # bytes that arrived through all devices, of both directions
    card: float  # bytes through the busiest card, both ways
    parameters: int


def measure(
    run: Run, network: str, batch: int, steps: int, hostfile: Optional[str] = None
) -> Figures:
    """Run a job and read its figures; without a hostfile it shares one machine."""
    with tempfile.TemporaryDirectory() as folder:
        case = dict(folder=folder, network=network, batch=batch, steps=steps, epochs=EPOCHS)
        case.update(workers=run.workers, machines=hostfile is not None)
        case["kvstore"] = "device" if run.engine == "alone" else run.engine
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        path = [os.path.dirname(sys.executable), environment["PATH"]]
        environment["PATH"] = os.pathsep.join(path)
        process = subprocess.run(
            [*run.command(hostfile), json.dumps(case)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        paths = [os.path.join(folder, f"figures-{rank}.json") for rank in range(run.workers)]
        if process.returncode or not all(map(os.path.exists, paths)):
            raise UserError(f"{run.engine} failed: {process.stderr.strip()[-300:]}")
        figures = []
        for path in paths:
            with open(path, encoding="utf-8") as file:
                figures.append(Figures(**json.load(file)))
    carried = sum(part.carried for part in figures) / run.workers
    return figures[0]._replace(carried=carried, card=max(part.card for part in figures))


def model(run: Run, alone: float, served: float) -> float:
    """Seconds of a step by docs/scaling.md.

    Args:
        alone, served: seconds of one worker without and with a parameter server.
    """
    wire = max(served - alone, 0)  # G/B + 2a
    if run.engine == "horovod":  # 2 (n-1)/n G/B
        return alone + 2 * (run.workers - 1) / run.workers * wire
    return alone + (run.workers * wire if run.engine == "dist_sync" else 0)  # n/s G/B


def table(network: str, batch: int, results: Dict[Run, Figures]) -> List[Dict[str, Any]]:
    """Measured and predicted figures of the runs."""
    alone, served = (results[run].seconds for run in RUNS[:2])
    lines = []
    for run, figures in results.items():
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
    new = []
    for line in lines:
        run, facts = line["run"], dict(parameters=line["parameters"])
        prefix = f"scaling_{run.engine}_{run.workers}x{batch}"
        for metric, value, unit in (
            ("images_per_second", line["measured"], "images/s"),
            ("model_images_per_second", line["model"], "images/s"),
            ("bytes_per_step", line["counted"], "B"),
            ("carried_bytes_per_step", line["carried"], "B"),
        ):
            new.append(rows.measured(network, "random", f"{prefix}_{metric}", value, unit, **facts))
    return new


def measure_machines(network: str, batch: int, steps: int, hostfile: str) -> List[rows.Row]:
    """Print and return what jobs on the hosts of a file send."""
    with open(hostfile, encoding="utf-8") as file:
        hosts = len(file.read().split())
    new = []
    for workers in (count for count in MACHINES if count <= hosts):
        figures = measure(Run("dist_sync", workers), network, batch, steps, hostfile)
        speed = workers * batch / figures.seconds
        print(
            f"{workers} workers{speed:10.1f} images/s; bytes a step {figures.counted:12,.0f} "
            f"counted,{figures.carried:12,.0f} carried,{figures.card:12,.0f} by the busiest card",
            flush=True,
        )
        facts = dict(parameters=figures.parameters)
        for metric, value, unit in (
            ("images_per_second", speed, "images/s"),
            ("bytes_per_step", figures.counted, "B"),
            ("carried_bytes_per_step", figures.carried, "B"),
            ("card_bytes_per_step", figures.card, "B"),
        ):
            name = f"machines_{workers}x{batch}_{metric}"
            row = rows.measured(network, "random", name, value, unit, **facts)
            new.append(row._replace(command=row.command.replace(hostfile, "HOSTS")))
    return new


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure all runs of the networks and print a table."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--batch", type=number(int, 1), default=32, metavar="N", help="batch size of a worker"
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=NETWORKS,
        default=list(NETWORKS),
        metavar="NAME",
        help=", ".join(NETWORKS),
    )
    parser.add_argument(
        "--hostfile", metavar="TXT", help="hosts of machines, as `launch` takes them"
    )
    parser.add_argument("--smoke", action="store_true", help="two steps, to see whether it works")
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if flags.smoke and flags.write:
        parser.error("--smoke figures mean nothing: leave out --write")
    probe = [sys.executable, "-c", "import horovod.mxnet"]
    horovod = not subprocess.run(probe, capture_output=True).returncode
    for network in flags.networks:
        steps, results = 2 if flags.smoke else NETWORKS[network], {}
        print(f"\n{network}, batch {flags.batch} a worker", flush=True)
        if flags.hostfile:
            new = measure_machines(network, flags.batch, steps, flags.hostfile)
            if flags.write:
                rows.append(new)
            continue
        for run in RUNS:
            if run.engine != "horovod" or horovod:
                results[run] = measure(run, network, flags.batch, steps)
        lines = table(network, flags.batch, results)
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
    command(main)
