"""Rows of runs that started from each other."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


def run_folder(folder: Path, start: str = "", **test: float) -> Path:
    """What a run of three epochs of RAM leaves; `test` are its scores."""
    config = dict(
        settings=dict(seed=1, epochs=3, samples=10, start_from=start),
        network=dict(name="ram_28"),
        data=dict(source=dict(name="mnist", options=dict(task="28", seed=1))),
        commit="0123abc",
    )
    flags = f"--start-from={start}" if start else ""
    result = dict(
        test_error=2.5,
        test=test,
        parameters=1000,
        command=f"train/a.py --log-dir /x --lr 1 {flags} --name {folder.name}",
    )
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def of_chain(*arguments: Any) -> Any:
    return import_module("chains").of_chain(*arguments)


def test_a_row_counts_epochs_and_tells_commands_of_all_runs(tmp_path: Path) -> None:
    first = run_folder(tmp_path / "a")
    second = run_folder(tmp_path / "b", f"{first}/best.params")
    (row,) = of_chain(run_folder(tmp_path / "c", f"{second}/best.params", accuracy=0.975), "")
    assert row.problem() is None
    assert (row.name, row.dataset, row.value) == ("ram_28", "mnist-28", "2.5")
    assert (row.samples, row.seed, row.epochs, row.commit) == ("", "1", "9", "0123abc")
    assert row.command.split(" && ") == [
        "python train/a.py --lr 1 --name a",
        "python train/a.py --lr 1 --start-from runs/a/best.params --name b",
        "python train/a.py --lr 1 --start-from runs/b/best.params --name c",
    ]


def test_single_episodes_have_a_row_of_their_own(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "a", accuracy=0.975, accuracy_m1=0.96)
    rows = of_chain(run, "mnist-28, for once")
    assert [(row.samples, row.value) for row in rows] == [("10", "2.5"), ("1", "4")]
    assert {row.dataset for row in rows} == {"mnist-28, for once"}


def test_another_number_of_episodes_is_measured_anew(tmp_path: Path, monkeypatch: Any) -> None:
    asked = []

    def evaluate(words: Any, **_: Any) -> Any:
        asked.append(words[3:])
        found = dict(test_error=2.0, test=dict(accuracy=0.98, accuracy_m1=0.97))
        return SimpleNamespace(returncode=len(asked) - 1, stdout=json.dumps(found), stderr="no\n")

    monkeypatch.setattr(import_module("chains"), "subprocess", SimpleNamespace(run=evaluate))
    run = run_folder(tmp_path / "a", accuracy=0.975, accuracy_m1=0.96)
    rows = of_chain(run, "", 20)
    assert [(row.samples, row.value) for row in rows] == [("20", "2"), ("1", "3")]
    assert rows[0].command.endswith(" --name a && gluon-attention evaluate runs/a --samples 20")
    assert asked == [["evaluate", str(run), "--samples", "20", "--json"]]
    with pytest.raises(ValueError, match="^no$"):
        of_chain(run, "", 20)


def test_weights_from_elsewhere_begin_a_chain(tmp_path: Path) -> None:
    (row,) = of_chain(run_folder(tmp_path / "a", "weights/ram.params"), "")
    assert row.epochs == "3"
    assert row.command == "python train/a.py --lr 1 --start-from ram.params --name a"


def test_a_run_that_is_not_done_is_refused(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["chains.py", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        import_module("chains").main()
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "result.json" in error and error.count("\n") == 1
