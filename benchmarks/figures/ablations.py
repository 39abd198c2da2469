"""The table of ablations, which were trained alike, beside what their paper says."""

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
    """Errors as means over seeds, with each seed's."""
    runs: Dict[Tuple[str, ...], List[Row]] = {}
    for r in rows:
        if r.metric == METRIC:
            key = (r.name, r.dataset, r.epochs, f"{int(r.parameters):,}")
            runs.setdefault(key, []).append(r)
    lines = []
    for (name, dataset, epochs, parameters), seeds in runs.items():
        values = [float(r.value) for r in sorted(seeds, key=lambda r: int(r.seed))]
        each = ", ".join(f"{value:.1f}" for value in values)
        mean = f"{sum(values) / len(values):.1f} %"
        lines.append([name, dataset, epochs, parameters, each, mean, _paper(name, dataset)])
    header = ["network", "data", "epochs", "parameters", "error of each seed", "mean", "paper"]
    return markdown(header, lines)


def _paper(name: str, dataset: str) -> str:
    found = PAPER.get((name, dataset))
    return f"{found} %" if found else "-"
