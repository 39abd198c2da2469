"""Kinds of operators, and the table of their shares in the time of a step."""

from __future__ import annotations

import re
from typing import Dict, Sequence, Tuple

from figures.rows import Row
from figures.tables import markdown, step_of

# Names of MXNet without _backward_, by kind; the first kind that matches counts.
KINDS = {
    "convolutions": r"Convolution|_sg_mkldnn_conv",
    "matrix_products": r"FullyConnected|_sg_mkldnn_fully_connected|dot|batch_dot|_linalg_gemm2",
    "batch_norm": r"BatchNorm|_contrib_quantized_batch_norm",
    "activations": r"Activation|relu|sigmoid|tanh|clip|_contrib_quantized_act",
    "sums": r"add_n|_contrib_quantized_elemwise_add|negative|\w+_scalar"
    r"|(elemwise_|broadcast_)?(add|sub|mul|div)",
    "layouts": r"amp_\w+|Cast|transpose|Reorder\w*|_?copy|CopyCPU2CPU|_contrib_\w*quantize\w*"
    r"|Concat|stack|slice\w*|SliceChannel|Flatten|Reshape|reshape\w*",
    "update": r"multi_sgd\w*|sgd\w*",
}
PARTS = (*KINDS, "other", "between")  # of a step; "between" is the time outside all operators
# Steps of the native library, by kind.
NATIVE = {
    "1x1": r"convolution.* 1x1",
    "3x3": r"convolution.* 3x3|winograd.*",
    "batch_norm": r"norm.*",
    "weights": r"(un)?pack weights",
    "other": ".*",
}


def kind_of(operator: str) -> str:
    """The kind of an operator of the profiler, "" being the time outside all of them."""
    if not operator:
        return "between"
    name = operator.replace("_backward_", "")
    return next((kind for kind, names in KINDS.items() if re.fullmatch(names, name)), "other")


def native_kind_of(step: str) -> str:
    """The kind of a step of the native library."""
    return next(kind for kind, names in NATIVE.items() if re.fullmatch(names, step))


def shares_table(rows: Sequence[Row], name: str = "time", parts: Sequence[str] = PARTS) -> str:
    """Shares of a step, one line per case."""
    cases: Dict[Tuple[str, str, str], Dict[str, float]] = {}
    for row in rows:
        step = step_of(row.metric, rf"{name}_\w+")
        if step:
            work, batch, metric = step
            percents = cases.setdefault((row.name, work, batch), {})
            percents[metric[len(name) + 1 :]] = float(row.value)
    lines = [
        [*case, *(f"{percents[part]:.0f} %" for part in parts)]
        for case, percents in sorted(cases.items())
    ]
    header = ["network", "", "batch", *(part.replace("_", " ") for part in parts)]
    return markdown(header, lines)
