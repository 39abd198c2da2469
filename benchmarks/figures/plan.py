"""What docs/scaling.md says of many devices: its formulas, and images a second by them."""

from __future__ import annotations

import re
from typing import List, Sequence

from figures import tables
from figures.rows import Row

DEVICES = (8, 64, 512)
BANDWIDTH, LATENCY = 1.25e9, 50e-6  # bytes and seconds: a card of 10 Gbit/s
BUCKETS = 2  # of gradients in a ring
ENGINES = ("1 server", "8 servers", "n/2 servers", "n servers, shared", "ring")


def wire(engine: str, devices: int, gradient: float) -> float:
    """Seconds that `gradient` bytes of each of the devices are on their way."""
    both = 2 * (devices - 1) / devices
    loads = {"1 server": devices, "8 servers": max(1, devices / 8), "n/2 servers": 2}
    loads.update({"n servers, shared": both, "ring": both})
    turns = 2 * (devices - 1) * BUCKETS if engine == "ring" else 2
    return loads[engine] * gradient / BANDWIDTH + turns * LATENCY


def share(engine: str, devices: int, gradient: float, seconds: float) -> float:
    """Of the speed of as many devices that do not have to talk, if nothing overlaps."""
    return seconds / (seconds + wire(engine, devices, gradient))


def plan_table(rows: Sequence[Row]) -> str:
    """Images a second of many machines like the one that was measured alone."""
    lines: List[List[str]] = []
    for row in rows:
        found = re.fullmatch(r"scaling_alone_1x(\d+)_images_per_second", row.metric)
        if found:
            batch, speed = int(found.group(1)), float(row.value)
            for devices in DEVICES:
                gradient = 4 * int(row.parameters)
                shares = [share(e, devices, gradient, batch / speed) for e in ENGINES]
                speeds = [f"{devices * speed * kept:,.0f}" for kept in shares]
                lines.append([row.name, str(devices), f"{devices * speed:,.0f}", *speeds])
    return tables.markdown(["network", "machines", "no wire", *ENGINES], lines)
