"""The model of docs/scaling.md for many devices, and images per second by it."""

from __future__ import annotations

import re
from typing import List, Sequence

from figures import tables
from figures.rows import Row

DEVICES = (8, 64, 512)
BANDWIDTH, LATENCY = 1.25e9, 50e-6  # bytes per second and seconds, of a network card of 10 Gbit/s
BUCKETS = 2  # number of messages that a ring sends the gradient in
ENGINES = ("1 server", "8 servers", "n/2 servers", "n servers, shared", "ring")


def communication(engine: str, devices: int, gradient: float) -> float:
    """Seconds to exchange gradients of `gradient` bytes among the devices."""
    ring = 2 * (devices - 1) / devices
    loads = {"1 server": devices, "8 servers": max(1, devices / 8), "n/2 servers": 2}
    loads.update({"n servers, shared": ring, "ring": ring})
    messages = 2 * (devices - 1) * BUCKETS if engine == "ring" else 2
    return loads[engine] * gradient / BANDWIDTH + messages * LATENCY


def share(engine: str, devices: int, gradient: float, seconds: float) -> float:
    """Speed relative to devices without communication; none of it is hidden by computation."""
    return seconds / (seconds + communication(engine, devices, gradient))


def plan_table(rows: Sequence[Row]) -> str:
    """Images per second of many machines like the one that was measured."""
    lines: List[List[str]] = []
    for row in rows:
        match = re.fullmatch(r"scaling_alone_1x(\d+)_images_per_second", row.metric)
        if match:
            batch, speed = int(match.group(1)), float(row.value)
            for devices in DEVICES:
                gradient = 4 * int(row.parameters)
                shares = [share(e, devices, gradient, batch / speed) for e in ENGINES]
                speeds = [f"{devices * speed * part:,.0f}" for part in shares]
                lines.append([row.name, str(devices), f"{devices * speed:,.0f}", *speeds])
    return tables.markdown(["network", "machines", "no wire", *ENGINES], lines)
