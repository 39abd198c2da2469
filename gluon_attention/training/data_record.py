"""The record of the data of a run, so that it does not resume on other data unnoticed."""

from __future__ import annotations

import sys
import zlib
from typing import Any, Dict, List

import mxnet as mx
import numpy as np

from ..datasets.sampling import Splits
from ..errors import UserError

STEPS = "steps an epoch"  # also depend on the number of devices


def versions() -> Dict[str, str]:
    """Versions of the code that trains."""
    from .. import __version__

    return dict(
        gluon_attention=__version__,
        mxnet=mx.__version__,
        numpy=np.__version__,
        python=sys.version.split()[0],
    )


def record_data(splits: Splits, steps: int) -> Dict[str, Any]:
    """Classes, sizes, labels and steps per epoch of a data set, as JSON values."""
    record: Dict[str, Any] = {"classes": [str(name) for name in splits.classes]}
    for split in ("training", "validation", "test"):
        samples = getattr(splits, "train" if split == "training" else split)
        record[f"{split} images"] = len(samples)
        record[f"labels of {split} images"] = zlib.crc32(samples.labels.tobytes())
    record[STEPS] = steps
    return record


def differences(saved: Dict[str, Any], current: Dict[str, Any], same_devices: bool) -> List[str]:
    """The differences between two records, without keys that one of them lacks."""
    lines = []
    for name in sorted(set(saved) & set(current), key=list(current).index):
        before, now = saved[name], current[name]
        if before == now or (name == STEPS and not same_devices):
            continue
        if name == "classes":
            lines.append(_different_classes(before, now))
        elif not name.startswith("labels"):
            lines.append(f"{before} {name}, not {now}")
        elif saved.get(name[10:]) == current[name[10:]]:  # of the same number of images
            lines.append(f"other {name}")
    return lines


def _different_classes(before: List[str], now: List[str]) -> str:
    if len(before) != len(now):
        return f"{len(before)} classes, not {len(now)}"
    old, new = next(pair for pair in zip(before, now) if pair[0] != pair[1])
    return f"a class '{old:.40}' where '{new:.40}' is now"


def check_data(folder: str, lines: List[str], accept: bool) -> List[str]:
    """Refuse to resume on other data; if they are accepted, return a note on them."""
    if not lines:
        return []
    if not accept:
        raise UserError(
            f"{folder} holds a run on other data, with {'; '.join(lines)}: give the same data to "
            "resume, another --name to start anew, or --accept-data to resume with these"
        )
    return [f"note: the epochs so far were trained on other data, with {'; '.join(lines)}"]


def version_notes(saved: Dict[str, str], current: Dict[str, str]) -> List[str]:
    """A note if other versions trained the epochs so far."""
    changed = [name for name in current if saved.get(name, current[name]) != current[name]]
    pairs = ", ".join(f"{name} {saved[name]} (now {current[name]})" for name in changed)
    return [f"note: the epochs so far were trained by {pairs}"] if pairs else []
