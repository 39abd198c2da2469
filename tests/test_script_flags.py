"""Every flag of a training script arrives: nothing is trained, what is called is written down."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Tuple

import pytest

TRAIN = Path(__file__).resolve().parent.parent / "train"
DATASETS = ("cifar.cifar10", "mnist.mnist", "cub.cub200", "detail.detail", "imagenet.imagenet")
OTHERS = (
    *("datasets.stanford_dogs.stanford_dogs", "datasets.batches.mislabel", "get_model"),
    *("zoo_config.get_model", "zoo_config.load_weights"),
    *("deploy.weights.load_backbone", "training.features.remembered"),
    *("zoo.resolutions.Resolutions", "parameters.read_parameters", "parameters.write_parameters"),
)
Calls = Dict[str, List[Tuple[tuple, dict]]]
PLACE = dict(part=(1, 2))
NOT_FIRST = 77  # a seed: this worker is not the first


@pytest.fixture
def called(monkeypatch: Any) -> Callable[..., Calls]:
    """Run a script; its calls by name, with what it gives to `train` as those of `train`."""
    calls: Calls = {}

    def note(path: str, given: Any) -> None:
        home, _, name = f"gluon_attention.{path}".rpartition(".")

        def noted(*words: Any, **options: Any) -> Any:
            calls.setdefault(name, []).append((words, options))
            return given

        monkeypatch.setattr(importlib.import_module(home), name, noted)

    def train(config: Any, name: str, network: Any, data: Any) -> Dict[str, Any]:
        calls.setdefault("train", []).append(((config, name), {}))
        network(10)
        data(16, (1, 2))
        return {} if config.seed == NOT_FIRST else dict(test_error=0.0)

    def run(script: str, *flags: str) -> Calls:
        net = SimpleNamespace(body=SimpleNamespace(backbones=["one", "two"]))
        net.eye = SimpleNamespace(backbone="eye", collect_params=lambda: net)
        net.mind = SimpleNamespace(reach=0.5)
        net.reset_ctx = lambda given: calls.setdefault("net", []).append(given)
        splits = SimpleNamespace(train="training images", classes="abc")
        for path in (*(f"datasets.{name}" for name in DATASETS), *OTHERS):
            note(path, splits if path.startswith("datasets") else net)
        monkeypatch.setattr("gluon_attention.parameters.read_parameters", lambda file: {})
        monkeypatch.setattr("gluon_attention.training.engine.train", train)
        monkeypatch.setattr(sys, "argv", [str(TRAIN / script), "--num-gpus=0", *flags])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(sys.argv[0], run_name="__main__")
        assert not ended.value.code
        return calls

    return run


def test_cifar10(called: Any) -> None:
    words = "--num-layers=92 --shape=deep --options=mask=local --cutout=8 --crop=28 --seed=3"
    more = "--validation=40 --label-noise=0.5 --start-from=x.params --data-dir=here"
    found = called("cifar10_train.py", *words.split(), *more.split())
    ((_, name), _) = found["train"][0]
    assert name == "cifar10-cifar_residual_attention92_deep"
    named = (name.partition("-")[2],)
    assert found["get_model"] == [(named, dict(classes=10, mask="local"))]
    assert found["load_weights"][0][0][1] == "x.params"
    options = dict(seed=3, validation=40, cutout=8, crop=28, **PLACE)
    assert found["cifar10"] == [(("here", 16), options)]
    assert found["mislabel"] == [(("training images", 0.5, 3, 3), {})]


def test_mnist(called: Any) -> None:
    words = "--task=cluttered60 --glimpses=5 --options=core=lstm --augment=0.5 --seed=3"
    more = "--validation=40 --start-from=x.params --data-dir=here"
    found = called("mnist_train.py", *words.split(), *more.split())
    options = dict(classes=10, glimpses=5, core="lstm")
    assert found["get_model"] == [(("ram_cluttered_60",), options)]
    assert found["load_weights"][0][0][1] == "x.params"
    assert found["train"][0][0][1] == "mnist-cluttered60"
    options = dict(task="cluttered60", seed=3, validation=40, augment=0.5, **PLACE)
    assert found["mnist"] == [(("here", 16), options)]


def test_imagenet(called: Any) -> None:
    words = "--num-layers=92 --size=64 --jitter=0.3 --lighting=0.2 -j=3 --seed=3 --validation=40"
    more = "--options=mask=local --start-from=x.params --data-dir=here"
    found = called("imagenet_train.py", *words.split(), *more.split())
    assert found["get_model"] == [(("residual_attention92",), dict(classes=10, mask="local"))]
    assert found["load_weights"][0][0][1] == "x.params"
    options = dict(size=64, jitter=0.3, lighting=0.2, workers=3, seed=3, validation=40, **PLACE)
    assert found["imagenet"] == [(("here", 16), options)]


def test_birds(called: Any) -> None:
    words = "--model=vgg19 --backbone=tiny --crops=32,24 --shrink=2 --shared --apn=paper --size=96"
    more = "--smallest=0.4,0.5 --frozen-bn=0 --backbone-weights=w.params -j=3 --seed=3"
    found = called("cub200_train.py", *words.split(), *more.split(), "--data-dir=here")
    options = dict(crops=(32, 24), shrink=2, shared=True, apn="paper", frozen_bn=False)
    options.update(sides=(0.4, 0.5, 0.9), backbone="tiny", classes=10)
    assert found["get_model"] == [(("racnn_vgg19",), options)]
    filled = [words for words, _ in found["load_backbone"]]
    assert filled == [("one", "w.params"), ("two", "w.params")]
    options = dict(size=96, seed=3, validation=600, workers=3, **PLACE)
    assert found["cub200"] == [(("here", 16), options)]


@pytest.mark.parametrize("seed, files", [(3, 1), (NOT_FIRST, 0)])
def test_the_first_worker_keeps_what_stage_1_learned(
    called: Any, tmp_path: Path, seed: int, files: int
) -> None:
    words = f"--dataset=detail --stage=1 --seed={seed} --log-dir={tmp_path}".split()
    assert len(called("stanford_dogs_train.py", *words).get("write_parameters", [])) == files


def test_scenes_that_look_closer(called: Any) -> None:
    found = called("cub200_train.py", "--dataset=detail", "--seed=3", "--margin=0.2")
    ((config, name), _) = found["train"][0]
    assert name == "detail-racnn_mobilenet_v2"
    assert (config.response, config.stages, config.margin) == ("energy", (7, 6, 2), 0.2)
    options = dict(size=192, coarse=64, radius=(0.38, 0.5), seed=3, validation=160, **PLACE)
    assert found["detail"] == [((16,), options)]


NET = dict(
    **dict(patch=32, patches=3, start_size=1, glimpses=4, regions=3, hidden=8, size=160),
    **dict(location="sampled", policy="random", dropout=0.25, stem_stride=2, overlap=5),
)


@pytest.mark.parametrize("dataset", ["dogs", "cub200", "detail"])
def test_both_stages_of_dogs(called: Any, tmp_path: Path, dataset: str) -> None:
    given = [f"--{name.replace('_', '-')}={value}" for name, value in NET.items()]
    words = "--backbone=tiny --reach=0.4 --std=0.1 --visual-epochs=7 --visual-lr=0.02 --lr=0.01"
    more = "--epochs=9 --seed=3 --validation=40 -j=3 --data-dir=here --test-features --features=f"
    where = ("--dataset", dataset, "--log-dir", str(tmp_path))
    found = called("stanford_dogs_train.py", *given, *words.split(), *more.split(), *where)
    configs = [words[0] for words, _ in found["train"]]
    assert [(c.epochs, c.lr) for c in configs] == [(7, 0.02), (9, 0.01)]
    learned = str(tmp_path / f"{dataset}-glimpse_resnet50-visual" / "backbone.params")
    assert [c.backbone_weights for c in configs] == ["", learned]
    assert found["load_backbone"] == [(("eye", learned), {})] * 2
    assert found["write_parameters"][0][0][0] == learned
    common = dict(NET, backbone="tiny", reach=0.4, std=0.1)
    assert found["get_model"] == [
        (("glimpse_resnet50",), dict(common, classes=10, frozen=False, frozen_bn=False)),
        (("glimpse_resnet50",), dict(common, classes=10, frozen=True)),
        (("glimpse_resnet50",), dict(common, classes=3, frozen=True)),
    ]
    assert found["Resolutions"][0][0][1:] == (10, 0.5)
    ((_, _, folder, _), options) = found["remembered"][0]
    assert folder == "f" and options == dict(test=True)
    same = dict(size=160, seed=3, validation=40, **PLACE)
    if dataset == "detail":
        assert found["detail"] == [((16,), dict(same, coarse=40))] * 2
        return
    same.update(workers=3, **(dict(short=160) if dataset == "cub200" else {}))
    name = "cub200" if dataset == "cub200" else "stanford_dogs"
    assert found[name] == [(("here", 16), dict(same, augment=a)) for a in (True, False)]


def test_a_flag_is_no_picture_to_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = TRAIN.parent / "benchmarks" / "pull_plot.py"
    monkeypatch.syspath_prepend(str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script), "--chart"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(script), run_name="__main__")
    assert not list(tmp_path.iterdir())
