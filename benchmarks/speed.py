"""Images per second and peak memory of training and inference: our networks and their peers.

Every contestant is a process of its own. They compute in turns, A B C A B C, so that other load of
the machine slows all of them alike; only ratios of neighbouring turns are comparable.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from figures import rows, tables
from figures.cases import CASES, MODES, NAMES, PRODUCT, TYPES, Case, step_name, type_of
from peers.protocol import Worker, WorkerError

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")


class Figures(NamedTuple):
    """Figures of one contestant in one case."""

    network: str
    parameters: int
    version: str
    rates: List[float]  # images per second of each round
    peak_mb: float
    multiply_adds: int  # per image


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure all cases, modes, types and batch sizes of the command line."""
    flags = parse(argv)
    pythons = dict.fromkeys(NAMES, sys.executable)
    with_torch = torch_python(flags.torch_python)
    pythons.update(torch=with_torch, torch_compile=with_torch, product=with_torch)
    peers = [peer for peer in flags.peers if pythons[peer]]
    if len(peers) < len(flags.peers):
        print("PyTorch is left out: --torch-python names an interpreter that has it")
    if with_torch:
        peers.append(PRODUCT)
    failures = 0
    jobs = itertools.product(flags.cases, flags.modes, flags.types, flags.batches)
    for case, mode, dtype, batch in jobs:
        if dtype not in CASES[case].types or not type_of("ours", mode, dtype):
            continue
        print(f"\n{case}, {mode}, {dtype}, batch {batch}", flush=True)
        job = dict(mode=mode, dtype=dtype, batch=batch)
        figures, failed = contest(flags, CASES[case], job, peers, pythons)
        failures += failed
        if figures:
            print(table(figures, passes_of(CASES[case], mode)), flush=True)
        if flags.write and figures:
            rows.append(rows_of(CASES[case], job, figures))
    if failures:
        sys.exit(1)


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """Read the command line; `--smoke` replaces every size by a tiny one."""
    from gluon_attention.command_line import Parser  # see peers/protocol.py
    from gluon_attention.fields import number

    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    names = dict(nargs="+", metavar="NAME")
    parser.add_argument(
        "--cases", choices=CASES, default=["residual92", "ram28"], help=", ".join(CASES), **names
    )
    parser.add_argument("--modes", choices=MODES, default=MODES, help=", ".join(MODES), **names)
    parser.add_argument(
        "--types",
        choices=TYPES,
        default=TYPES[:1],
        help=", ".join(TYPES) + " (8 bits: inference, against each peer's shortest type)",
        **names,
    )
    parser.add_argument("--peers", choices=NAMES, default=NAMES, help=", ".join(NAMES), **names)
    parser.add_argument(
        "--batches",
        type=number(int, 1),
        nargs="+",
        default=[1, 32],
        metavar="N",
        help="batch sizes",
    )
    parser.add_argument(
        "--rounds",
        type=number(int, 1),
        default=7,
        metavar="N",
        help="number of turns of each contestant",
    )
    parser.add_argument(
        "--seconds", type=number(float, 0.01), default=3.0, metavar="X", help="seconds of a turn"
    )
    parser.add_argument(
        "--torch-python", default="", metavar="PATH", help="Python interpreter with PyTorch 2"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes in under a minute, to see whether it works"
    )
    parser.add_argument("--write", action="store_true", help="append the figures to results.csv")
    flags = parser.parse_args(argv)
    if flags.smoke and flags.write:
        parser.error("--smoke figures mean nothing: leave out --write")
    if flags.smoke:
        flags.cases, flags.batches, flags.rounds, flags.seconds = (
            ["residual56", "ram28", "racnn128", "glimpse32"],
            [2],
            2,
            0.05,
        )
        flags.peers = [peer for peer in flags.peers if peer != "torch_compile"]
    return flags


def torch_python(path: str) -> str:
    """An interpreter with PyTorch: `path`, this one, or TORCH_PYTHON; '' where none has it."""
    for python in [path] if path else [sys.executable, os.environ.get("TORCH_PYTHON", "")]:
        if python and shutil.which(python):
            if not subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
                return python
    if path:
        from gluon_attention import UserError

        raise UserError(f"--torch-python {path} cannot import torch")
    return ""


def command_of(peer: str, python: str) -> List[str]:
    """The command that starts the process of a contestant."""
    script, role = {
        "torch": ("torch_worker.py", "eager"),
        "torch_compile": ("torch_worker.py", "compile"),
        PRODUCT: ("torch_worker.py", PRODUCT),
        "onnxruntime": ("onnx_worker.py", "run"),
    }.get(peer, ("mxnet_worker.py", peer))
    return [python, os.path.join(PEERS, script), role]


def contest(
    flags: argparse.Namespace,
    case: Case,
    job: Dict[str, Any],
    peers: Sequence[str],
    pythons: Dict[str, str],
) -> Tuple[Dict[str, Figures], int]:
    """Figures of the contestants that work, and the number of those that do not."""
    figures, workers, steps, failed = {}, {}, {}, 0
    with ExitStack() as stack:
        for peer in (p for p in peers if p in case.networks):
            network, dtype = case.networks[peer], type_of(peer, job["mode"], job["dtype"])
            if not dtype:
                continue
            setup = dict(case._asdict(), network=network, **dict(job, dtype=dtype))
            try:
                worker = stack.enter_context(Worker(command_of(peer, pythons[peer])))
                ready = worker.ask(do="setup", case=setup)
                worker.ask(do="run", steps=2)  # compile, and fill memory pools
                step_seconds = worker.ask(do="run", steps=1)["seconds"]
            except WorkerError as error:
                print(f"{peer} is left out: {error}", flush=True)
                failed += 1
                continue
            workers[peer] = worker
            steps[peer] = max(1, round(flags.seconds / step_seconds))
            facts = (ready["parameters"], ready["version"], [], 0.0, ready["multiply_adds"])
            figures[peer] = Figures(network, *facts)
        try:
            for _ in range(flags.rounds):
                for peer, worker in workers.items():
                    turn = worker.ask(do="run", steps=steps[peer])
                    figures[peer].rates.append(job["batch"] * steps[peer] / turn["seconds"])
                    figures[peer] = figures[peer]._replace(peak_mb=turn["peak_mb"])
        except WorkerError as error:
            print(f"this case has no figures, because {peer} failed: {error}", flush=True)
            return {}, failed + 1
    return figures, failed


def ratio(ours: Figures, peer: Figures) -> float:
    """Median of the ratios of neighbouring turns."""
    return statistics.median(a / b for a, b in zip(ours.rates, peer.rates))


def passes_of(case: Case, mode: str) -> int:
    """Number of times that a step costs as much as a forward pass."""
    return case.passes if mode == "train" else 1


def peak_share(figures: Dict[str, Figures], passes: int) -> float:
    """Multiply-adds per second of our network, relative to a large matrix product."""
    ours, product = figures["ours"], figures[PRODUCT]
    return passes * ours.multiply_adds / product.multiply_adds * ratio(ours, product)


def table(figures: Dict[str, Figures], passes: int) -> str:
    """One line per contestant; `ours x` is how many times faster ours is."""
    lines = [f"{'':14}{'images/s':>10}{'min':>9}{'max':>9}{'peak MB':>9}{'ours x':>8}  version"]
    for peer, f in figures.items():
        if peer == PRODUCT and "ours" in figures:
            lines.append(f"ours: {peak_share(figures, passes):.0%} of a matrix product's speed")
            continue
        times = f"{ratio(figures['ours'], f):8.2f}" if "ours" in figures else f"{'':8}"
        lines.append(
            f"{peer:14}{statistics.median(f.rates):10.1f}{min(f.rates):9.1f}{max(f.rates):9.1f}"
            f"{f.peak_mb:9.0f}{times}  {f.version}, {f.parameters:,} parameters"
        )
    return "\n".join(lines)


def machine_of(figures: Dict[str, Figures]) -> str:
    """This machine, and what instructions a native library used on it."""
    version = figures["ours"].version if "ours" in figures else ""
    _, native, instructions = version.split(", mxnet")[0].partition(", native on ")
    return f"{rows.machine()}, {instructions}" if native else rows.machine()


def rows_of(case: Case, job: Dict[str, Any], figures: Dict[str, Figures]) -> List[rows.Row]:
    """The figures as rows of results.csv; oneDNN reads the limit of its instructions itself."""
    step, new = step_name(**job), []
    machine, limit = machine_of(figures), os.environ.get("ONEDNN_MAX_CPU_ISA")
    dataset = f"{case.dataset}{tables.LIMITED}{limit}" if limit else case.dataset
    for peer, f in figures.items():
        name = f.network if peer == "ours" else f"{peer} {f.network}"

        def row(metric: str, value: float, unit: str, against: str = "", name=name, f=f) -> None:
            measured = (name, dataset, f"{step}_{metric}", value, unit, against)
            new.append(rows.measured(*measured, parameters=f.parameters, machine=machine))

        if peer == PRODUCT:
            if "ours" in figures:
                share = 100 * peak_share(figures, passes_of(case, job["mode"]))
                row("peak_share", share, "%", name=figures["ours"].network, f=figures["ours"])
            continue
        row("images_per_second", statistics.median(f.rates), "images/s")
        row("peak_mb", f.peak_mb, "MB")
        if peer != "ours" and "ours" in figures:
            ours = figures["ours"]
            row("ratio", ratio(ours, f), "x", peer, ours.network, ours)
    return new


if __name__ == "__main__":
    from gluon_attention.command_line import command

    command(main)
