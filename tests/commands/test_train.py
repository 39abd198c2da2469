"""`gluon-attention train`: the training of every data set, with the flags of its script."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from gluon_attention.commands.train import DATASETS, cub200
from gluon_attention.training import engine

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_flags_reach_the_run(shell: Any, monkeypatch: Any, tmp_path: Path) -> None:
    runs = []
    monkeypatch.setattr(engine.Run, "complete", lambda run: runs.append(run) or {})
    flags = f"--data-dir {ROOT}/data/sample/mnist --log-dir {tmp_path} --glimpses 3 -b 50"
    status, _, errors = shell("train", "mnist", *flags.split(), "--num-gpus", "0")
    assert status == 0, errors
    assert runs[0].net.arguments["options"] == {"glimpses": 3} and runs[0].config.batch_size == 50


def test_presets_follow_the_flag_of_the_verb(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for dataset, folder in (("cifar10", "data/cifar10"), ("cifar100", "data/cifar100")):
        status, out, _ = shell("train", "cifar10", "--dataset", dataset, "--help")
        assert status == 0 and any(f"(default: {folder})" in line for line in out)
        assert out[0].startswith("usage: gluon-attention train cifar10 ")


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["cifar11"], "invalid choice: 'cifar11'"),
        (["mnist", "--evaluate", "--log-dir", "/proc/runs"], "no run to evaluate"),
    ],
)
def test_mistakes_are_one_line(shell: Any, words: Any, sentence: str) -> None:
    status, out, errors = shell("train", *words)
    assert status == 2 and not out and len(errors) == 1 and sentence in errors[0]


def test_flags_of_proposed_boxes_have_no_effect_where_the_feature_map_chooses(
    shell: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cub200, "train", lambda config, **parts: None)
    words = ["train", "cub200", "--locate=activation"]
    note = "note: without effect, as the feature map chooses the boxes: --stages, --apn"
    assert shell(*words, "--stages=3,1,1", "--apn=plain") == (0, [note], [])
    assert shell(*words, "--dataset=detail") == (0, [], [])
    assert shell(*words[:2], "--stages=3,1,1") == (0, [], [])


def test_scripts_call_the_same() -> None:
    scripts = sorted((ROOT / "train").glob("*.py"))
    mains = [runpy.run_path(str(path))["main"] for path in scripts]
    assert sorted(main.__module__ for main in mains) == sorted(
        module.__name__ for module in DATASETS.values()
    )
