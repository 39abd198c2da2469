"""What a run writes of its network and its data, so that both can be made again from its folder."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict


def recipe(net: Any, splits: Any) -> Dict[str, Any]:
    """JSON of how `get_model` made the net, and of the data: classes, view, how to load it."""
    data = dict(
        source=splits.source,
        classes=[str(name) for name in splits.classes],
        mean=[float(value) for value in splits.mean],
        std=[float(value) for value in splits.std],
        view=dataclasses.asdict(splits.view) if splits.view else None,
    )
    return dict(network=getattr(net, "recipe", None), data=data)
