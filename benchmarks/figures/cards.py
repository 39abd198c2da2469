"""Tables of the model cards in docs/: costs of the networks and measured errors."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Tuple

from gluon_attention import list_models
from gluon_attention.zoo.costs import COSTS
from gluon_attention.zoo.registry import entry

from figures.rows import TTA, Row
from figures.tables import errors_table, markdown, scales_table

FAMILIES = {  # names of networks, and of their rows, by shell pattern
    "residual": ("residual_attention*", "cifar_residual_attention*"),
    "ram": ("ram_*",),
    "racnn": ("racnn_*",),
    "glimpse": ("glimpse*",),
}
FORMER = re.compile(  # in data: weights that shipped before, and other runs of a recipe
    r", (in (three|four|six|seven|ten) commands|the recipe on an |after the first \d+ of)"
)


def names(family: str) -> List[str]:
    """Registered names of a family, small networks first."""
    registered = [name for pattern in FAMILIES[family] for name in list_models(pattern)]

    def order(name: str) -> Tuple[Any, ...]:
        words = re.split(r"(\d+)", name)  # 56 comes before 128
        return (entry(name).shape, *(int(w) if w.isdigit() else w for w in words))

    return sorted(registered, key=order)


def variant(name: str) -> str:
    """The line of one network: input, classes, parameters and multiply-adds of an image."""
    network = entry(name)
    parameters, adds = COSTS[name]
    shape = "x".join(map(str, network.shape))
    adds = f"{adds / 1e9:.3g} G" if adds >= 1e8 else f"{adds / 1e6:.3g} M"
    return f"| `{name}` | {shape} | {network.classes} | {parameters:,} | {adds} |"


def variants(family: str, rows: Sequence[Row] = ()) -> str:
    """All networks of a family."""
    head = markdown(["network", "input", "classes", "parameters", "multiply-adds"], [])
    return head + "".join(variant(name) + "\n" for name in names(family))


def errors(family: str, rows: Sequence[Row], former: bool = False) -> str:
    """Test errors of a family, and the scores of its scales where it has any.

    Args:
        former: only of weights that shipped before, and of their training; else all others.
    """
    own = [r for r in rows if any(fnmatchcase(r.name, name) for name in FAMILIES[family])]
    own = [r for r in own if bool(FORMER.search(r.dataset)) == former]
    errors = [r for r in own if r.metric in ("test_error", "kept_features_error", TTA)]
    parts = [errors_table(errors)] if errors else []
    if any(r.metric == "accuracy_1" for r in own):
        parts.append(scales_table(own))
    if not parts:
        return "No training has finished yet: `benchmarks/results.csv` has no row.\n"
    return "\n".join(parts)


CARDS: Dict[str, Callable[[Sequence[Row]], str]] = {
    f"{table.__name__}_{family}": partial(table, family)
    for family in FAMILIES
    for table in (variants, errors)
}
CARDS.update(
    {f"former_{family}": partial(errors, family, former=True) for family in ("residual", "ram")}
)
