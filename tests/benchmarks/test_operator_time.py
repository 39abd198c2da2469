"""Shares of kinds of operators in a step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from gluon_attention import native

import operator_time
import pytest
from figures import operators, rows


def test_operators_have_their_kinds() -> None:
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
        assert {operators.kind_of(name) for name in names.split()} == {kind}


def test_steps_of_the_native_library_have_their_kinds() -> None:
    kinds = {"convolution to data 1x1": "1x1", "winograd": "3x3", "convolution 3x3": "3x3"}
    kinds.update({"norm back": "batch_norm", "unpack weights": "weights", "gate": "other"})
    assert {step: operators.native_kind_of(step) for step in kinds} == kinds


@pytest.mark.slow
@pytest.mark.skipif(not native.library(), reason="the native library is not built")
def test_shares_of_the_native_library(capsys: Any) -> None:
    operator_time.main(["residual56_slim", "train", "--native", "--batch=2", "--steps=1"])
    percents = {
        line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines()
    }
    assert sum(percents.values()) == pytest.approx(100, abs=0.5)
    assert all(percents[kind] > 0 for kind in operators.NATIVE)


def test_shares_of_a_step_sum_to_100_percent(tmp_path: Path) -> None:
    words = [operator_time.__file__, "ram28", "train", "--batch=2", "--steps=2"]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    process = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert process.returncode == 0, process.stderr
    lines = map(str.split, process.stdout.splitlines())
    percents = {words[0]: float(words[1]) for words in lines}
    assert sum(percents.values()) == pytest.approx(100, abs=0.5)
    assert percents["matrix_products"] > 0 and percents["convolutions"] == 0
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_column_for_every_kind() -> None:
    values = {kind: 10 * place for place, kind in enumerate(operators.PARTS)}
    table_rows = [
        rows.measured("net", "random 3x8x8", f"train_bfloat16_b4_time_{kind}", value, "%")
        for kind, value in values.items()
    ]
    assert all(row.problem() is None for row in table_rows)
    line = operators.shares_table(table_rows).splitlines()[2]
    percents = " | ".join(f"{value} %" for value in values.values())
    assert line == f"| net | train, bfloat16 | 4 | {percents} |"
