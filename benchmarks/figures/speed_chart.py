"""A bar chart of the speed relative to each peer."""

from __future__ import annotations

from typing import Sequence

from gluon_attention.storage.atomic import atomic_file

from figures.rows import Row
from figures.tables import PEERS, latest, speeds

COLOURS = ("#4c72b0", "#dd8452", "#c44e52", "#8172b3")


def draw(rows: Sequence[Row], path: str) -> None:
    """Draw a bar for each ratio; ours is faster where it passes the line at 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = {
        case: {peer: figures[peer] for peer in PEERS if peer in figures}
        for case, figures in reversed(list(speeds(latest(rows)).items()))
    }
    cases = {case: ratios for case, ratios in cases.items() if ratios}
    bars = sum(map(len, cases.values()))
    height = 0.17 * bars + 0.14 * len(cases) + 1
    figure, axis = pyplot.subplots(figsize=(9, height), constrained_layout=True)
    place, ticks = 0.0, []
    for ratios in cases.values():
        ticks.append(place + (len(ratios) - 1) / 2)
        for peer, ratio in reversed(ratios.items()):
            axis.barh(place, ratio, 0.9, color=COLOURS[list(PEERS).index(peer)])
            label = axis.text(ratio, place, f" {ratio:.2f}", va="center", fontsize=7)
            label.set_bbox(dict(color="white", pad=0))  # hides the line at 1
            place += 1
        place += 0.8
    axis.axvline(1, color="black", linewidth=1)
    axis.set_yticks(ticks, [f"{c.network}\n{c.work}, batch {c.batch}" for c in cases], fontsize=7)
    axis.set(xlabel="images/s, times the peer's", ylim=(-0.8, place - 0.6))
    axis.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS]
    figure.legend(handles, PEERS.values(), loc="outside upper center", ncol=4, frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    pyplot.close(figure)
