"""Tables of the model cards in docs/: what each network costs, and what was measured of it."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Tuple

from gluon_attention import get_model, list_models
from gluon_attention.export.cost import cost
from gluon_attention.zoo.registry import entry

from figures.rows import Row
from figures.tables import errors_table, markdown, scales_table

FAMILIES = {  # names of networks, and of their rows, by shell pattern
    "residual": ("residual_attention*", "cifar_residual_attention*"),
    "ram": ("ram_*",),
    "racnn": ("racnn_*",),
    "glimpse": ("glimpse*",),
}


def names(family: str) -> List[str]:
    """Registered names of a family, small networks first."""
    found = [name for pattern in FAMILIES[family] for name in list_models(pattern)]

    def order(name: str) -> Tuple[Any, ...]:
        words = re.split(r"(\d+)", name)  # 56 comes before 128
        return (entry(name).shape, *(int(w) if w.isdigit() else w for w in words))

    return sorted(found, key=order)


def variant(name: str) -> str:
    """The line of one network: its usual input and classes, and what an image costs."""
    known = entry(name)
    found = cost(get_model(name), known.shape)
    shape = "x".join(map(str, known.shape))
    adds = found.multiply_adds / 1e9
    adds = f"{adds:.3g} G" if adds >= 0.1 else f"{adds * 1e3:.3g} M"
    return f"| `{name}` | {shape} | {known.classes} | {found.parameters:,} | {adds} |"


def variants(family: str, rows: Sequence[Row] = ()) -> str:
    head = markdown(["network", "input", "classes", "parameters", "multiply-adds"], [])
    return head + "".join(variant(name) + "\n" for name in names(family))


def errors(family: str, rows: Sequence[Row]) -> str:
    """Test errors of a family, and what its scales do; commands stand in results.csv."""
    mine = [r for r in rows if any(fnmatchcase(r.name, name) for name in FAMILIES[family])]
    missed = [r for r in mine if r.metric in ("test_error", "kept_features_error")]
    found = [errors_table(missed)] if missed else []
    if any(r.metric == "accuracy_1" for r in mine):
        found.append(scales_table(mine))
    if not found:
        return "Nothing was trained to the end yet: there is no row in `benchmarks/results.csv`.\n"
    return "\n".join(found)


CARDS: Dict[str, Callable[[Sequence[Row]], str]] = {
    f"{table.__name__}_{family}": partial(table, family)
    for family in FAMILIES
    for table in (variants, errors)
}
