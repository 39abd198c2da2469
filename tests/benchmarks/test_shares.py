"""Shares of kinds of operators in a step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from figures import rows, shares

    return rows, shares


def test_kinds(figures: Any) -> None:
    kinds = {
        "convolutions": "_backward_Convolution _sg_mkldnn_conv",
        "matrix_products": "FullyConnected _backward_dot",
        "batch_norm": "_backward_BatchNorm",
        "activations": "Activation _contrib_quantized_act _backward_tanh",
        "sums": "add_n broadcast_add elemwise_mul _backward_mul _mul_scalar",
        "layouts": "amp_cast transpose Reorder2Default _contrib_dequantize _backward_reshape",
        "update": "multi_sgd_mom_update",
        "other": "GridGenerator BilinearSampler log_softmax",
    }
    for kind, names in kinds.items():
        assert {figures[1].kind_of(name) for name in names.split()} == {kind}


def test_a_step_is_divided_whole(tmp_path: Path) -> None:
    words = [str(BENCHMARKS / "shares.py"), "ram28", "train", "--batch=2", "--steps=2"]
    env = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    assert sum(found.values()) == pytest.approx(100, abs=0.5)
    assert found["matrix_products"] > 0 and found["convolutions"] == 0
    assert not list(tmp_path.iterdir())


def test_table(figures: Any) -> None:
    rows, shares = figures
    values = {kind: 10 * place for place, kind in enumerate(shares.PARTS)}
    known = [
        rows.measured("net", "random 3x8x8", f"train_bfloat16_b4_time_{kind}", value, "%")
        for kind, value in values.items()
    ]
    assert all(row.problem() is None for row in known)
    line = shares.shares_table(known).splitlines()[2]
    assert (
        line
        == "| net | train, bfloat16 | 4 | "
        + " | ".join(f"{value} %" for value in values.values())
        + " |"
    )
