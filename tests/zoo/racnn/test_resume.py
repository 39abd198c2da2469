"""RA-CNN's schedule, interrupted in every kind of phase, ends with the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Tuple

from gluon_attention import get_model
from gluon_attention.datasets.detail import detail
from gluon_attention.training import engine
from gluon_attention.training.config import Config, setting

import numpy as np
import pytest

STAGES = ["classify1", "locate2", "classify2", "rank2", "classify_fused"]  # one epoch each
INTERRUPTED = {1, 3, 4}  # epochs that locate, rank, classify


@dataclass(frozen=True)
class Settings(Config):
    stages: Tuple[int, ...] = setting((1, 1, 1), "epochs")
    epochs: int = setting(len(STAGES), "epochs")
    batch_size: int = setting(8, "batch")
    optimizer: str = setting("adam", "optimizer")
    lr: float = setting(1e-3, "rate")
    num_gpus: int = setting(0, "gpus")
    log_interval: int = setting(1, "steps")


def run(folder: Path) -> None:
    engine.train(
        Settings(log_dir=str(folder)),
        "scenes",
        lambda classes: get_model(
            "racnn_mobilenet_v2", classes=classes, backbone="tiny", crops=(16,), shrink=2
        ),
        lambda: detail(size=32, coarse=16, train=16, validation=8, test=8),
    )


def test_a_run_interrupted_in_any_phase_resumes(tmp_path: Path, monkeypatch: Any) -> None:
    run(tmp_path / "whole")
    keep, left = engine.Run.apply, set(INTERRUPTED)

    def apply(self: Any, update: Any, shards: Any, step: int) -> Any:
        epoch = step // 2  # of two steps
        if step % 2 and epoch in left:
            left.remove(epoch)
            raise KeyboardInterrupt
        return keep(self, update, shards, step)

    monkeypatch.setattr(engine.Run, "apply", apply)
    for _ in INTERRUPTED:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut")
    run(tmp_path / "cut")
    one, other = (np.load(tmp_path / name / "scenes" / "last.npz") for name in ("whole", "cut"))
    assert sorted(one.files) == sorted(other.files)
    for name in set(one.files) - {"progress"}:  # which holds seconds
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    header = (tmp_path / "cut" / "scenes" / "history.csv").read_text().splitlines()[0]
    assert all(f"train/{stage}" in header for stage in STAGES)
