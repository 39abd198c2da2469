"""The table of ablations, all trained with the same settings, beside the errors of the paper."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from figures.rows import Row
from figures.tables import markdown

METRIC = "ablation_error"
OURS = "cifar_residual_attention56_slim"
RESNET = "cifar_resnet56_v2"

# Errors in percent of arXiv 1704.06904, of Attention-56; where labels are wrong, of Attention-92
# and of ResNet-164.
PAPER = {
    (OURS, "cifar10"): "5.52",
    (f"{OURS}, attention=naive", "cifar10"): "5.89",
    (f"{OURS}, mask_activation=channel", "cifar10"): "6.24",
    (f"{OURS}, mask_activation=spatial", "cifar10"): "6.33",
    (f"{OURS}, mask=local", "cifar10"): "6.48",
    (OURS, "cifar10, 30 % of labels wrong"): "5.79",
    (OURS, "cifar10, 50 % of labels wrong"): "7.27",
    (RESNET, "cifar10, 30 % of labels wrong"): "6.61",
    (RESNET, "cifar10, 50 % of labels wrong"): "8.35",
}


def ablations_table(rows: Sequence[Row]) -> str:
    """Error of each seed and their mean, one line per ablation."""
    runs: Dict[Tuple[str, ...], List[Row]] = {}
    for row in rows:
        if row.metric == METRIC:
            key = (row.name, row.dataset, row.epochs, f"{int(row.parameters):,}")
            runs.setdefault(key, []).append(row)
    lines = []
    for (name, dataset, epochs, parameters), seeds in runs.items():
        values = [float(row.value) for row in sorted(seeds, key=lambda row: int(row.seed))]
        each = ", ".join(f"{value:.1f}" for value in values)
        mean = f"{sum(values) / len(values):.1f} %"
        lines.append([name, dataset, epochs, parameters, each, mean, _paper(name, dataset)])
    header = ["network", "data", "epochs", "parameters", "error of each seed", "mean", "paper"]
    return markdown(header, lines)


def _paper(name: str, dataset: str) -> str:
    error = PAPER.get((name, dataset))
    return f"{error} %" if error else "-"
