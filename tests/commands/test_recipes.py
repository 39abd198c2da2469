"""Recipes: settings that exist, that flags override, and stages that continue each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError, fields
from gluon_attention.commands.train import cifar10, cub200, mnist
from gluon_attention.commands.train.recipes import (
    CIFAR10_RECIPES,
    CUB200_RECIPES,
    MNIST_RECIPES,
)
from gluon_attention.training import engine
from gluon_attention.training.config import BEST

import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
RECIPES = [
    (cifar10.Cifar10, CIFAR10_RECIPES),
    (mnist.Mnist, MNIST_RECIPES),
    (cub200.Cub, CUB200_RECIPES),
]


def trained(monkeypatch: Any, module: Any, *words: str) -> List[Any]:
    """The settings of each training of a command, and the name of its network."""
    runs: List[Any] = []

    def train(config: Any, name: str, network: Any, data: Any) -> None:
        runs.append(config)

    monkeypatch.setattr(module, "train", train)
    module.main([*words], "train")
    return runs


@pytest.mark.parametrize("kind, recipes", RECIPES)
def test_every_setting_of_a_recipe_is_one_that_its_flag_accepts(kind: Any, recipes: Any) -> None:
    declared = {field.name: field for field in fields.declared(kind)}
    for recipe in recipes.values():
        assert recipe.about.endswith(".")
        for stage in recipe.stages:
            for name, value in stage.items():
                assert declared[name].check(value) == value


@pytest.mark.parametrize("name", MNIST_RECIPES)
def test_a_recipe_of_mnist_ends_with_the_network_of_its_name(name: str, monkeypatch: Any) -> None:
    last = trained(monkeypatch, mnist, "--recipe", name)[-1]
    assert mnist.MODELS[last.task] == name


@pytest.mark.parametrize("name", CUB200_RECIPES)
def test_a_recipe_of_cub200_trains_the_network_of_its_name(name: str, monkeypatch: Any) -> None:
    (config,) = trained(monkeypatch, cub200, "--recipe", name, "--backbone-weights", "x.params")
    assert cub200.name_of(config) == name and config.backbone_weights == "x.params"
    with pytest.raises(UserError, match=f"--recipe {name} starts from a backbone trained on Imag"):
        trained(monkeypatch, cub200, "--recipe", name)
    with pytest.raises(UserError, match=f"--recipe {name} trains on birds: leave --dataset det"):
        trained(monkeypatch, cub200, "--recipe", name, "--dataset", "detail")


@pytest.mark.parametrize("name", CIFAR10_RECIPES)
def test_a_recipe_of_cifar10_trains_the_network_of_its_name(
    name: str, monkeypatch: Any, tmp_path: Path
) -> None:
    runs: List[Any] = []

    def complete(run: Any) -> Dict[str, Any]:
        runs.append(run)
        run.net.save_parameters(f"{run.folder.path}/{BEST}")
        return {}

    monkeypatch.setattr(engine.Run, "complete", complete)
    words = ["--data-dir", f"{SAMPLE}/cifar10", "--log-dir", str(tmp_path), "--native", "0"]
    cifar10.main(["--recipe", name, *words, "--num-gpus", "0", "--dtype", "float32"], "train")
    *earlier, run = runs
    folders = [f"{name}-stage{number}" for number in range(1, len(earlier) + 1)]
    assert [Path(run.folder.path) for run in runs] == [tmp_path / n for n in [*folders, name]]
    assert run.net.arguments["name"] == name
    assert len(run.splits.validation) == 0 and run.splits.train.load_epoch
    run._begin()
    run.monitor.close()
    settings = json.loads((tmp_path / name / "config.json").read_text())["settings"]
    assert settings["recipe"] == name and settings["decay"] == "linear"
    last = run.steps * run.config.epochs - 1
    end = run.config.swa_lr or 0
    assert run.optimizers["net"].learning_rate(last) == pytest.approx(end, abs=1e-3)


def test_flags_override_a_recipe(monkeypatch: Any) -> None:
    words = "--recipe cifar_residual_attention92_slim --epochs 3 --name short --validation 50"
    (config,) = trained(monkeypatch, cifar10, *words.split())
    assert (config.epochs, config.name, config.validation) == (3, "short", 50)
    assert (config.shape, config.ema) == ("slim", 0.9995)


def test_flags_are_checked_for_all_stages_before_the_first(monkeypatch: Any) -> None:
    runs: List[Any] = []
    monkeypatch.setattr(cifar10, "train", lambda config, *rest: runs.append(config))
    words = "--recipe cifar_residual_attention56_slim --ema 0.999".split()
    with pytest.raises(UserError, match="--ema and --swa both"):
        cifar10.main(words, "train")
    assert not runs


def test_without_a_recipe_the_defaults_hold(monkeypatch: Any) -> None:
    (config,) = trained(monkeypatch, mnist)
    assert (config.recipe, config.name, config.epochs) == (None, None, 80)


def test_stages_continue_each_other_and_the_last_has_the_name(monkeypatch: Any) -> None:
    words = "--recipe ram_cluttered_100 --log-dir logs --seed 3".split()
    runs = trained(monkeypatch, mnist, *words)
    assert [run.task for run in runs] == [
        *("translated60", "cluttered60", "cluttered60", "cluttered100", "cluttered100")
    ]
    names = [f"ram_cluttered_100-stage{number}" for number in range(1, 5)]
    assert [run.name for run in runs] == [*names, "ram_cluttered_100"]
    starts = [f"logs/{name}/best.params" for name in names]
    assert [run.start_from for run in runs] == [None, *starts]
    assert {run.seed for run in runs} == {3} and [run.glimpses for run in runs][-1] is None
    (last,) = trained(monkeypatch, mnist, *words, "--evaluate")
    assert last == fields.replace(runs[-1], {"evaluate": True})


def test_a_recipe_of_stages_is_refused_on_several_machines(monkeypatch: Any) -> None:
    with pytest.raises(UserError, match="--kvstore dist_sync trains one network at a time"):
        trained(monkeypatch, mnist, "--recipe", "ram_cluttered_100", "--kvstore", "dist_sync")


def test_recipes_are_listed(shell: Any) -> None:
    status, out, _ = shell("train", "mnist", "--help")
    assert status == 0 and "  ram_cluttered_100" in out


@pytest.mark.slow
def test_ram_cluttered_100_trains_in_one_command(tmp_path: Path, capsys: Any) -> None:
    words = f"--recipe ram_cluttered_100 --data-dir {SAMPLE}/mnist --log-dir {tmp_path}"
    words += " --epochs 1 -b 250 --validation 100 --samples 1 --num-gpus 0"
    mnist.main(words.split(), "train")
    first = (tmp_path / "ram_cluttered_100" / "result.json").read_text()
    mnist.main(words.split(), "train")
    assert capsys.readouterr().out.count("is done; --evaluate") == 5
    assert (tmp_path / "ram_cluttered_100" / "result.json").read_text() == first
