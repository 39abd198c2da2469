"""Kinds of operators, and what share of a step each takes."""

from __future__ import annotations

import re
from typing import Dict, Sequence, Tuple

from figures.rows import Row
from figures.tables import markdown, step_of

# Forward and backward alike; the first that fits. Names are MXNet's, without _backward_.
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
PARTS = (*KINDS, "other", "between")  # of the time of a step; the last is in no operator


def kind_of(operator: str) -> str:
    """The kind that a name of the profiler belongs to."""
    name = operator.replace("_backward_", "")
    return next((kind for kind, names in KINDS.items() if re.fullmatch(names, name)), "other")


def shares_table(rows: Sequence[Row]) -> str:
    """Shares of a step, one line a case."""
    cases: Dict[Tuple[str, str, str], Dict[str, float]] = {}
    for r in rows:
        found = step_of(r.metric, r"time_\w+")
        if found:
            work, batch, what = found
            cases.setdefault((r.name, work, batch), {})[what[len("time_") :]] = float(r.value)
    lines = [
        [*case, *(f"{known[part]:.0f} %" for part in PARTS)]
        for case, known in sorted(cases.items())
    ]
    header = ["network", "", "batch", *(part.replace("_", " ") for part in PARTS)]
    return markdown(header, lines)
