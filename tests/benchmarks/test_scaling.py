"""The measurement of several workers: its model, its rows and table, and that it runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from figures import plan, tables  # noqa: E402


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(scaling, seconds):
    return scaling.Figures(seconds, 8e6, 8.1e6, 1_000_000)


def test_the_model_is_that_of_the_document(scaling):
    alone, served, two, ring = scaling.RUNS
    assert scaling.model(alone, 1.0, 1.2) == 1.0
    assert scaling.model(served, 1.0, 1.2) == pytest.approx(1.2)  # G/B + 2a are 0.2
    assert scaling.model(two, 1.0, 1.2) == pytest.approx(1.4)  # one card carries two gradients
    assert scaling.model(ring, 1.0, 1.2) == pytest.approx(1.2)  # 2 (n-1)/n is 1
    assert scaling.model(ring._replace(workers=4), 1.0, 1.2) == pytest.approx(1.3)
    assert scaling.model(two, 1.0, 0.9) == 1.0  # noise is not a fast wire


def test_shares_of_the_document_are_those_of_its_formulas():
    lines = (ROOT / "docs" / "scaling.md").read_text().splitlines()
    for devices in plan.DEVICES:
        shares = (plan.share(engine, devices, 127e6, 0.5) for engine in plan.ENGINES)
        assert f"| {devices} | " + " | ".join(f"{s:.2f}" for s in shares) + " |" in lines
    assert f"| devices | {' | '.join(plan.ENGINES)} |" in lines


def test_figures_become_rows_and_a_table(scaling):
    found = {run: figures(scaling, 1 + run.workers / 10) for run in scaling.RUNS[:3]}
    found[scaling.RUNS[0]] = figures(scaling, 1.0)
    lines = scaling.table("ram_28", 32, found)
    assert [line["measured"] for line in lines] == pytest.approx([32, 32 / 1.1, 64 / 1.2])
    assert [line["model"] for line in lines] == pytest.approx([32, 32 / 1.1, 64 / 1.2])
    rows = scaling.rows_of("ram_28", 32, lines)
    assert not [row.problem() for row in rows if row.problem()] and len(rows) == 12
    drawn = tables.scaling_table(rows).splitlines()
    assert drawn[-1] == "| ram_28 | dist_sync | 2x32 | 53.3 | 53.3 | 1.00 | 8.00 | 8.10 |"
    drawn = plan.plan_table(rows).splitlines()  # of a gradient of 4 MB, and a second a step
    assert drawn[2] == "| ram_28 | 8 | 256 | 250 | 255 | 254 | 255 | 254 |" and len(drawn) == 5


@pytest.mark.slow
def test_it_runs():
    words = [sys.executable, str(ROOT / "benchmarks" / "scaling.py"), "--smoke"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if line.startswith("dist_sync  2")]
    for line, parameters in zip(found, (244_375, 7_202_794)):
        assert f"{8 * parameters:,} counted" in line
    assert len(found) == 2
