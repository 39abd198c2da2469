"""Where the time of one of our networks goes: shares of kinds of operators in a step.

python benchmarks/shares.py residual92 train --dtype bfloat16 --batch 32
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from typing import Any, Dict, Optional, Sequence

from figures import rows
from figures.cases import CASES, MODES, TYPES, Case, step_name, type_of
from figures.flags import Parser, number
from figures.shares import PARTS, kind_of


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Profile what the flags say."""
    flags = parse(argv)
    case = CASES[flags.case]
    job = dict(mode=flags.mode, dtype=flags.dtype, batch=flags.batch)
    found = shares(profiled(case, job, flags.steps))
    for kind, share in found.items():
        print(f"{kind:22}{share:6.1f} %")
    if flags.write:
        name, what = case.networks["ours"], step_name(**job) + "_time_"
        rows.append(
            [
                rows.measured(name, case.dataset, what + kind, share, "%")
                for kind, share in found.items()
            ]
        )


def parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("case", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("mode", choices=MODES, metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--dtype", choices=TYPES, default="float32", help="float32 if absent")
    for flag, default in (("batch", 32), ("steps", 10)):
        parser.add_argument(f"--{flag}", type=number(int, 1), default=default, metavar="N")
    parser.add_argument("--write", action="store_true", help="append the shares to results.csv")
    flags = parser.parse_args(argv)
    if flags.dtype not in CASES[flags.case].types or not type_of("ours", flags.mode, flags.dtype):
        parser.error(f"{flags.case} has no {flags.mode} in {flags.dtype}")
    return flags


def profiled(case: Case, job: Dict[str, Any], steps: int) -> Dict[str, float]:
    """Milliseconds of every operator by name, and of all that was not in one."""
    for mode in ("TRAIN", "INFERENCE"):  # operators that run in bulk are seen as one
        os.environ[f"MXNET_EXEC_BULK_EXEC_{mode}"] = "0"
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))
    from mxnet_worker import ours

    ready = ours(dict(case._asdict(), network=case.networks["ours"], **job))
    from mxnet import profiler

    ready.run(3)
    with tempfile.TemporaryDirectory() as folder:
        # MXNet unlinks this file at once and may write it when the process ends. Never a device:
        # of root, it would delete /dev/null.
        trace = os.path.join(folder, "profile.json")
        kinds = dict(profile_imperative=True, profile_symbolic=True, aggregate_stats=True)
        profiler.set_config(filename=trace, **kinds)
        profiler.set_state("run")
        start = time.perf_counter()
        ready.run(steps)
        took = 1000 * (time.perf_counter() - start)
        profiler.set_state("stop")
        table = json.loads(profiler.dumps(format="json"))["Time"]["operator"]
    times = {name: known["Total"] for name, known in table.items()}
    return {**times, "": max(0.0, took - sum(times.values()))}


def shares(times: Dict[str, float]) -> Dict[str, float]:
    """Percent of every kind of operator."""
    found = dict.fromkeys(PARTS, 0.0)
    for name, spent in times.items():
        found[kind_of(name) if name else "between"] += 100 * spent / sum(times.values())
    return found


if __name__ == "__main__":
    main()
