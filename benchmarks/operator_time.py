"""Shares of kinds of operators in the time of a step of one of our networks.

python benchmarks/operator_time.py residual92 train --dtype bfloat16 --batch 32
python benchmarks/operator_time.py residual92 train --native     # of steps of the native library
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterable, Optional, Sequence

from gluon_attention import native
from gluon_attention.command_line import Parser, command
from gluon_attention.fields import number

from figures import rows
from figures.cases import CASES, MODES, TYPES, Case, step_name, type_of
from figures.operators import NATIVE, PARTS, kind_of, native_kind_of

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Profile one case and print the share of each kind of operator."""
    flags = parse(argv)
    case = CASES[flags.case]
    job = dict(mode=flags.mode, dtype=flags.dtype, batch=flags.batch)
    if flags.native:
        percents = shares(profile_native(case, job, flags.steps), native_kind_of, NATIVE)
    else:
        percents = shares(profile(case, job, flags.steps), kind_of, PARTS)
    for kind, percent in percents.items():
        print(f"{kind:22}{percent:6.1f} %")
    if flags.write:
        name, metric = case.networks["ours"], step_name(**job)
        metric += "_native_" if flags.native else "_time_"
        rows.append(
            [
                rows.measured(name, case.dataset, metric + kind, percent, "%")
                for kind, percent in percents.items()
            ]
        )


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("case", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("mode", choices=MODES, metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--dtype", choices=TYPES, default="float32", help="type of the computation")
    count = dict(type=number(int, 1), metavar="N")
    parser.add_argument("--batch", default=32, help="batch size (default: 32)", **count)
    parser.add_argument("--steps", default=10, help="number of steps (default: 10)", **count)
    parser.add_argument("--native", action="store_true", help="steps of the native library")
    parser.add_argument("--write", action="store_true", help="append the shares to results.csv")
    flags = parser.parse_args(argv)
    supported = "mxnet" in CASES[flags.case].networks and type_of("mxnet", flags.mode, flags.dtype)
    if flags.native and not supported:
        parser.error(f"the native library has no {flags.mode} of {flags.case} in {flags.dtype}")
    if flags.dtype not in CASES[flags.case].types or not type_of("ours", flags.mode, flags.dtype):
        parser.error(f"{flags.case} has no {flags.mode} in {flags.dtype}")
    return flags


def profile(case: Case, job: Dict[str, Any], steps: int) -> Dict[str, float]:
    """Milliseconds of every operator by name, and under "" those outside all operators."""
    for mode in ("TRAIN", "INFERENCE"):  # the profiler sees a bulk of operators as one
        os.environ[f"MXNET_EXEC_BULK_EXEC_{mode}"] = "0"
    sys.path.insert(0, PEERS)
    from mxnet_worker import ours

    # Not natively: MXNet's profiler sees the operators of MXNet.
    ready = ours(dict(case._asdict(), network=case.networks["ours"], **job), native="0")
    from mxnet import profiler

    ready.run(3)
    with tempfile.TemporaryDirectory() as folder:
        # MXNet unlinks this file at once, so it must not be a device: run as root, this deleted
        # /dev/null.
        trace = os.path.join(folder, "profile.json")
        kinds = dict(profile_imperative=True, profile_symbolic=True, aggregate_stats=True)
        profiler.set_config(filename=trace, **kinds)
        profiler.set_state("run")
        start = time.perf_counter()
        ready.run(steps)
        total = 1000 * (time.perf_counter() - start)
        profiler.set_state("stop")
        table = json.loads(profiler.dumps(format="json"))["Time"]["operator"]
        profiler.dump()  # ends the thread that writes the file, or it may outlive the folder
    times = {name: entry["Total"] for name, entry in table.items()}
    return {**times, "": max(0.0, total - sum(times.values()))}


def profile_native(case: Case, job: Dict[str, Any], steps: int) -> Dict[str, float]:
    """Seconds of processor time of every step of the native library by name."""
    sys.path.insert(0, PEERS)
    from mxnet_worker import ours

    ready = ours(dict(case._asdict(), network=case.networks["ours"], **job), native="1")
    ready.run(1)
    library = native.library()
    library.profile(True)
    ready.run(steps)
    return library.profiled()


def shares(
    times: Dict[str, float], kind: Callable[[str], str], kinds: Iterable[str]
) -> Dict[str, float]:
    """Percent of the time by kind."""
    percents = dict.fromkeys(kinds, 0.0)
    for name, duration in times.items():
        percents[kind(name)] += 100 * duration / sum(times.values())
    return percents


if __name__ == "__main__":
    command(main)
