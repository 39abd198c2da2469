"""The benchmark of several workers: its model, its rows and tables, and a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scaling
from figures import scaling_plan, tables

ROOT = Path(__file__).resolve().parents[2]


def figures(seconds: float) -> scaling.Figures:
    return scaling.Figures(seconds, 8e6, 8.1e6, 2.4e7, 1_000_000)


def test_the_model_follows_the_formulas_of_the_page() -> None:
    alone, served, two, ring = scaling.RUNS
    assert scaling.model(alone, 1.0, 1.2) == 1.0
    assert scaling.model(served, 1.0, 1.2) == pytest.approx(1.2)  # G/B + 2a are 0.2
    assert scaling.model(two, 1.0, 1.2) == pytest.approx(1.4)  # one card carries two gradients
    assert scaling.model(ring, 1.0, 1.2) == pytest.approx(1.2)  # 2 (n-1)/n is 1
    assert scaling.model(ring._replace(workers=4), 1.0, 1.2) == pytest.approx(1.3)
    assert scaling.model(two, 1.0, 0.9) == 1.0  # noise is not a fast wire


def test_the_page_shows_the_shares_that_its_formulas_give() -> None:
    lines = (ROOT / "docs" / "scaling.md").read_text().splitlines()
    for devices in scaling_plan.DEVICES:
        shares = (scaling_plan.share(e, devices, 127e6, 0.5) for e in scaling_plan.ENGINES)
        assert f"| {devices} | " + " | ".join(f"{s:.2f}" for s in shares) + " |" in lines
    assert f"| devices | {' | '.join(scaling_plan.ENGINES)} |" in lines


def test_figures_become_rows_and_a_table() -> None:
    results = {run: figures(1 + run.workers / 10) for run in scaling.RUNS[:3]}
    results[scaling.RUNS[0]] = figures(1.0)
    lines = scaling.table("ram_28", 32, results)
    assert [line["measured"] for line in lines] == pytest.approx([32, 32 / 1.1, 64 / 1.2])
    assert [line["model"] for line in lines] == pytest.approx([32, 32 / 1.1, 64 / 1.2])
    rows = scaling.rows_of("ram_28", 32, lines)
    assert not any(row.problem() for row in rows) and len(rows) == 12
    table = tables.scaling_table(rows).splitlines()
    assert table[-1] == "| ram_28 | dist_sync | 2x32 | 53.3 | 53.3 | 1.00 | 8.00 | 8.10 |"
    table = scaling_plan.plan_table(rows).splitlines()  # a gradient of 4 MB and one second per step
    assert table[2] == "| ram_28 | 8 | 256 | 250 | 255 | 254 | 255 | 254 |" and len(table) == 5


def test_bytes_of_machines_become_rows_and_a_table(tmp_path: Path, monkeypatch: Any) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("one\ntwo\n")
    monkeypatch.setattr(scaling, "measure", lambda *case: figures(0.5))
    rows = scaling.measure_machines("ram_28", 32, 2, str(hosts))
    assert not any(row.problem() for row in rows) and len(rows) == 8  # of one worker and of two
    lines = tables.machines_table(rows).splitlines()
    assert lines[-1] == "| ram_28 | 2x32 | 128.0 | 8.00 | 8.10 | 24.00 | 8.00 |"
    without_speed = tables.machines_table([r for r in rows if r.unit == "B"]).splitlines()
    assert without_speed[2] == "| ram_28 | 1x32 | - | 8.00 | 8.10 | 24.00 | 0.00 |"
    assert len(tables.scaling_table(rows).splitlines()) == 2  # they are in no other table


@pytest.mark.slow
def test_a_smoke_run() -> None:
    words = [sys.executable, str(ROOT / "benchmarks" / "scaling.py"), "--smoke"]
    process = subprocess.run(words, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("dist_sync  2")]
    for line, parameters in zip(lines, (244_375, 7_202_794)):
        assert f"{8 * parameters:,} counted" in line
    assert len(lines) == 2
