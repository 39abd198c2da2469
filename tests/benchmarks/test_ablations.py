"""Ablations beside each other, and networks of GluonCV that are trained as ours are."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from figures import ablations, published, rows  # noqa: E402

NAIVE = "cifar_residual_attention56_slim, attention=naive"


def run_folder(folder: Path, error: float, images: int = 10_000, **settings: Any) -> Path:
    common = dict(options="", label_noise=0.0, dtype="bfloat16", seed=0, epochs=2)
    network = dict(name="cifar_residual_attention56_slim")
    config = dict(settings={**common, **settings}, network=network, commit="0123abc")
    result = dict(
        test_error=error,
        test_images=images,
        parameters=1000,
        command="train/a.py --log-dir /x --lr 1",
    )
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_a_row_says_what_differs(tmp_path: Path) -> None:
    of_run = import_module("ablations").of_run
    naive = of_run(run_folder(tmp_path / "a", 30, options="attention=naive", seed=2))
    assert (naive.name, naive.dataset, naive.seed) == (NAIVE, "cifar10", "2")
    assert naive.problem() is None and naive.command == "python train/a.py --lr 1"
    peer = of_run(run_folder(tmp_path / "b", 30, peer="cifar_resnet56_v2", label_noise=0.3))
    assert peer.name == "cifar_resnet56_v2"
    assert peer.dataset == "cifar10, 30 % of labels wrong"
    long = of_run(run_folder(tmp_path / "c", 30, dtype="float32"))
    assert long.name == "cifar_residual_attention56_slim, float32"
    with pytest.raises(ValueError, match="tested on 500 images, not on the 10000 of CIFAR"):
        of_run(run_folder(tmp_path / "d", 30, images=500))


def test_ablations_stand_beside_the_paper(tmp_path: Path) -> None:
    of_run = import_module("ablations").of_run
    known = [
        of_run(run_folder(tmp_path / f"{seed}{options}", error, options=options, seed=seed))
        for seed, options, error in ((1, "attention=naive", 31), (0, "attention=naive", 30.0))
    ]
    known.append(rows.measured("ram_28", "mnist", "test_error", 1, "%"))
    lines = ablations.ablations_table(known).splitlines()
    assert lines[2:] == [f"| {NAIVE} | cifar10 | 2 | 1,000 | 30.0, 31.0 | 30.5 % | 5.89 % |"]


def test_ours_stand_beside_what_others_published() -> None:
    common = dict(epochs="2", parameters="9", machine="m", date="2026-01-01", commit="0123abc")
    empty = dict.fromkeys(rows.Row._fields, "")

    def row(name: str, dataset: str, metric: str, value: str, **more: str) -> rows.Row:
        facts = dict(name=name, dataset=dataset, metric=metric, value=value)
        return rows.Row(**{**empty, **common, **facts, **more})

    known = [
        row("ram_28", "mnist-28", "test_error", "1.5", samples="1"),
        row("ram_28", "mnist-28", "test_error", "0.5", samples="10"),
        row("ram_28", "mnist-28, 2 glimpses", "test_error", "9", samples="10"),
        row(published.RACNN, published.BIRDS, "accuracy", "80", seed="0"),
        row(published.RACNN, published.BIRDS, "accuracy", "90", seed="1"),
        row(published.RACNN, published.BIRDS, "accuracy_1", "70", seed="1"),
    ]
    lines = published.published_table(known).splitlines()[2:]
    assert lines[0].startswith("| `ram_28` | MNIST | 0.50, 1.50 | 1.29, 1.12 |")
    assert lines[1].startswith("| `racnn_mobilenet_v2` | CUB-200-2011, 20 kinds | 15.00 |")
    assert len(lines) == 2
