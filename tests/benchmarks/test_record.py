"""Rows of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

from gluon_attention import UserError

import pytest
import record
from figures import ablations, rows, tables

SLIM = "cifar_residual_attention56_slim"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives the rows of a command line."""

    def run(*words: Any) -> List[rows.Row]:
        new: List[rows.Row] = []
        monkeypatch.setattr(rows, "append", new.extend)
        record.main([str(word) for word in words])
        assert not any(row.problem() for row in new)
        return new

    return run


def run_folder(folder: Path, network: str, data: dict, result: dict, **settings: Any) -> Path:
    """Folder of a finished run of three epochs."""
    settings = dict(dict(seed=1, epochs=3), **settings)
    start = settings.get("start_from")
    words = f"train/a.py --log-dir /x --lr 1 {f'--start-from={start}' if start else ''}"
    facts = dict(parameters=1000, command=f"{words} --name {folder.name}")
    config = dict(settings=settings, network=dict(name=network), commit="0123abc")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(config, data=dict(source=data))))
    (folder / "result.json").write_text(json.dumps({**facts, **result}))
    return folder


def run_of_ram(folder: Path, start_from: str = "", **scores: float) -> Path:
    source = dict(name="mnist", options=dict(task="28", seed=1))
    result = dict(test_error=2.5, test=scores)
    return run_folder(folder, "ram_28", source, result, samples=10, start_from=start_from)


def run_on_cifar(folder: Path, error: float, images: int = 10_000, **settings: Any) -> Path:
    common = dict(options="", label_noise=0.0, dtype="bfloat16", start_from="")
    source = dict(name="cifar10", options={})
    result = dict(test_error=error, test_images=images, test={})
    return run_folder(folder, SLIM, source, result, **{**common, **settings})


def test_a_chain_counts_all_epochs_and_names_all_commands(tmp_path: Path, recorded: Any) -> None:
    first = run_of_ram(tmp_path / "a")
    second = run_of_ram(tmp_path / "b", f"{first}/best.params")
    (row,) = recorded(run_of_ram(tmp_path / "c", f"{second}/best.params", accuracy=0.975))
    assert (row.name, row.dataset, row.value) == ("ram_28", "mnist-28", "2.5")
    assert (row.samples, row.seed, row.epochs, row.commit) == ("", "1", "9", "0123abc")
    assert row.command.split(" && ") == [
        "python train/a.py --lr 1 --name a",
        "python train/a.py --lr 1 --start-from runs/a/best.params --name b",
        "python train/a.py --lr 1 --start-from runs/b/best.params --name c",
    ]


def test_weights_from_elsewhere_begin_a_chain(tmp_path: Path, recorded: Any) -> None:
    (row,) = recorded(run_of_ram(tmp_path / "a", "weights/ram.params"))
    assert row.epochs == "3"
    assert row.command == "python train/a.py --lr 1 --start-from ram.params --name a"


def test_a_single_episode_has_a_row_of_its_own(tmp_path: Path, recorded: Any) -> None:
    run = run_of_ram(tmp_path / "a", accuracy=0.975, accuracy_m1=0.96)
    new = recorded(run, "--data", "mnist-28, short", "--name", "mine")
    assert [(row.samples, row.value) for row in new] == [("10", "2.5"), ("1", "4")]
    assert {(row.name, row.dataset) for row in new} == {("mine", "mnist-28, short")}


def test_another_number_of_episodes_is_evaluated(
    tmp_path: Path, recorded: Any, monkeypatch: Any
) -> None:
    calls: List[List[str]] = []

    def evaluate(words: List[str], **_: Any) -> Any:
        calls.append(words[3:])
        output = dict(test_error=2.0, test=dict(accuracy=0.98, accuracy_m1=0.97))
        return SimpleNamespace(returncode=len(calls) - 1, stdout=json.dumps(output), stderr="no\n")

    monkeypatch.setattr(record, "subprocess", SimpleNamespace(run=evaluate))
    run = run_of_ram(tmp_path / "a", accuracy=0.975, accuracy_m1=0.96)
    new = recorded(run, "--samples", 20)
    assert [(row.samples, row.value) for row in new] == [("20", "2"), ("1", "3")]
    assert new[0].command.endswith(" --name a && gluon-attention evaluate runs/a --samples 20")
    assert calls == [["evaluate", str(run), "--samples", "20", "--json"]]
    with pytest.raises(UserError, match="no$"):
        recorded(run, "--samples", 20)


def test_the_error_with_mirror_images_has_a_row_and_a_column(
    tmp_path: Path, recorded: Any, monkeypatch: Any
) -> None:
    output = dict(test_error=6.0, test=dict(accuracy=0.94), tta=dict(views=2, test_error=5.5))
    answer = SimpleNamespace(returncode=0, stdout=json.dumps(output), stderr="")
    monkeypatch.setattr(record, "subprocess", SimpleNamespace(run=lambda *_, **__: answer))
    plain = run_on_cifar(tmp_path / "a", 7.0, epochs=2)
    new = recorded(plain) + recorded("--tta", run_on_cifar(tmp_path / "b", 6.0))
    assert [(row.metric, row.value) for row in new] == [
        *(("test_error", "7"), ("test_error", "6"), ("tta_error", "5.5"))
    ]
    assert new[2].command.endswith(" --name b && gluon-attention evaluate runs/b --tta")
    lines = tables.errors_table(new).splitlines()
    assert "| error | with mirror image | parameters |" in lines[0]
    assert "| 7.00 % | - |" in lines[2] and "| 6.00 % | 5.50 % |" in lines[3]
    assert "mirror" not in tables.errors_table(new[:1])


def test_stages_of_a_recipe_name_their_command_once(tmp_path: Path, recorded: Any) -> None:
    first = run_of_ram(tmp_path / "r-stage1")
    (row,) = recorded(stage_of(run_of_ram(tmp_path / "r", f"{first}/best.params"), first))
    assert row.epochs == "6" and row.command == "python train/a.py --lr 1 --name r-stage1"


def stage_of(run: Path, other: Path) -> Path:
    """The run, as made by the command of another one."""
    result, command = (json.loads((folder / "result.json").read_text()) for folder in (run, other))
    result["command"] = command["command"]
    (run / "result.json").write_text(json.dumps(result))
    return run


def test_a_run_without_a_result_is_refused(tmp_path: Path, recorded: Any) -> None:
    with pytest.raises(UserError, match="result.json"):
        recorded(tmp_path)


def test_scores_of_scales_are_percent(tmp_path: Path, recorded: Any) -> None:
    scores = dict(accuracy_1=0.25, side_2=0.5, cross_entropy=7.0)
    run = run_folder(tmp_path / "a", "racnn", dict(name="detail"), dict(test=scores))
    new = recorded("--rows", "scales", run)
    assert [(row.metric, row.value) for row in new] == [("accuracy_1", "25"), ("side_2", "50")]
    assert new[0].dataset == "detail"


def test_rows_of_ablations_name_options_noise_and_type(tmp_path: Path, recorded: Any) -> None:
    naive = run_on_cifar(tmp_path / "a", 30, options="attention=naive", seed=2)
    peer = run_on_cifar(tmp_path / "b", 30, peer="cifar_resnet56_v2", label_noise=0.3)
    float32 = run_on_cifar(tmp_path / "c", 30, dtype="float32")
    new = recorded("--rows", "ablation", naive, peer, float32)
    assert [(row.name, row.dataset) for row in new] == [
        (f"{SLIM}, attention=naive", "cifar10"),
        ("cifar_resnet56_v2", "cifar10, 30 % of labels wrong"),
        (f"{SLIM}, float32", "cifar10"),
    ]
    assert new[0].seed == "2" and new[0].command == "python train/a.py --lr 1 --name a"
    with pytest.raises(UserError, match="500 images"):
        recorded("--rows", "ablation", run_on_cifar(tmp_path / "d", 30, images=500))


def test_ablations_stand_beside_the_paper(tmp_path: Path, recorded: Any) -> None:
    runs = [
        run_on_cifar(tmp_path / str(seed), error, options="attention=naive", seed=seed)
        for seed, error in ((1, 31), (0, 30.0))
    ]
    table_rows = recorded("--rows", "ablation", *runs)
    table_rows.append(rows.measured("ram_28", "mnist", "test_error", 1, "%"))
    lines = ablations.ablations_table(table_rows).splitlines()
    name = f"{SLIM}, attention=naive"
    assert lines[2:] == [f"| {name} | cifar10 | 3 | 1,000 | 30.0, 31.0 | 30.5 % | 5.89 % |"]
