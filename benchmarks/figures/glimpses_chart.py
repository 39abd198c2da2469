"""A chart of RAM's error on MNIST by the number of glimpses, beside the paper's."""

from __future__ import annotations

import re
from collections import defaultdict
from statistics import mean
from typing import Dict, List, Sequence

from gluon_attention.storage.atomic import atomic_file

from figures.rows import Row
from figures.tables import latest

GLIMPSES = (2, 3, 4, 5, 6, 7)
# One scale of 8x8 pixels; the two versions of the paper differ.
PAPER = {
    "the paper, arXiv": (6.27, 2.7, 1.73, 1.55, 1.29, 1.47),
    "the paper, proceedings": (3.79, 1.51, 1.54, 1.34, 1.12, 1.07),
}
SAMPLES = {"10": "ram_28, mean of 10 episodes", "1": "ram_28, one episode"}


def errors(rows: Sequence[Row], samples: str) -> Dict[int, float]:
    """The test error of `ram_28`, averaged over seeds, of each number of glimpses."""
    by_glimpses: Dict[int, List[float]] = defaultdict(list)
    for row in latest(rows):
        match = re.fullmatch(r"mnist-28(?:, (\d) glimpses)?", row.dataset)
        if match and (row.name, row.metric, row.samples) == ("ram_28", "test_error", samples):
            by_glimpses[int(match.group(1) or 6)].append(float(row.value))
    return {glimpses: mean(values) for glimpses, values in sorted(by_glimpses.items())}


def draw(rows: Sequence[Row], path: str) -> None:
    """Draw a line for each version of the paper and each number of episodes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.6), constrained_layout=True)
    for label, values in PAPER.items():
        axis.plot(GLIMPSES, values, "--", marker="o", label=label)
    for samples, label in SAMPLES.items():
        ours = errors(rows, samples)
        axis.plot(list(ours), list(ours.values()), marker="o", label=label)
    axis.set(xlabel="glimpses of 8x8 pixels", ylabel="test error, %", xticks=GLIMPSES)
    axis.set(ylim=(0, None))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    pyplot.close(figure)
