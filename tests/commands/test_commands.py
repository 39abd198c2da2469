"""`predict`, `evaluate`, `explain` and `export`, as a person or a script calls them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Tuple

from gluon_attention import get_model
from gluon_attention.commands import evaluate
from gluon_attention.datasets import cifar10, mnist
from gluon_attention.training import evaluation
from gluon_attention.training.config import Config
from gluon_attention.training.engine import train

import cv2
import mxnet as mx
import numpy as np
import pytest
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
SCORES = dict(test_error=50.0, test={"accuracy": 0.5}, test_images=500)
SLIM = "cifar_residual_attention56_slim"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: Any) -> Path:
    """A folder of the first test digits as pictures, named by index and label."""
    folder = tmp_path_factory.mktemp("digits")
    test = mnist(SAMPLE / "mnist", download=False).test
    for number, (image, label) in enumerate(zip(test.first(6), test.labels)):
        cv2.imwrite(str(folder / f"{number}_{label}.png"), np.rint(image[0] * 255).astype("uint8"))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Path:
    """A short training run with options, settings and a seed that are no defaults."""

    class Settings(Config):
        samples = 3

    folder = tmp_path_factory.mktemp("runs")
    options = dict(glimpses=2, widths=(8, 8, 16, 16, 8), std=0.2)
    common = dict(epochs=1, batch_size=100, optimizer="adam", lr=1e-3, num_gpus=0, seed=5)
    train(
        Settings(log_dir=str(folder), data_dir=str(SAMPLE / "mnist"), **common),
        "short",
        lambda classes: get_model("ram_translated_60", classes, **options),
        lambda: mnist(SAMPLE / "mnist", task="translated60", seed=5),
    )
    return folder / "short"


@pytest.fixture(scope="module")
def masks(tmp_path_factory: Any) -> Path:
    """Random weights of a network for CIFAR-10, with a description."""
    file = tmp_path_factory.mktemp("masks") / "slim.params"
    net = get_model(SLIM)
    mx.random.seed(0)
    net.initialize(net.initializer)
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(file))
    data = dict(classes=cifar10(SAMPLE / "cifar10").classes)
    file.with_suffix(".json").write_text(json.dumps(dict(network=net.arguments, data=data)))
    return file


def test_predict_names_the_digits(shell: Any, digits: Path) -> None:
    status, out, _ = shell("predict", "ram_28", digits, "--top", 2)
    assert status == 0 and len(out) == 6
    for line in out:
        path, _, predictions = line.partition(": ")
        assert predictions.startswith(Path(path).stem[-1] + " ") and predictions.count("%") == 2


def test_predict_gives_the_softmax_of_the_normalised_picture(
    shell: Any, digits: Path, masks: Path
) -> None:
    file = sorted(digits.iterdir())[0]
    report = json.loads(shell("predict", masks, file, "--json", "--top", 99)[1][0])
    net = get_model(SLIM)
    net.load_parameters(str(masks))
    small = cv2.resize(cv2.imread(str(file))[..., ::-1], (32, 32), interpolation=cv2.INTER_LINEAR)
    mean, std = np.array([0.4914, 0.4824, 0.4467]), np.array([0.2471, 0.2435, 0.2616])
    normalised = ((small / 255 - mean) / std).transpose(2, 0, 1)[None]
    probabilities = mx.nd.softmax(net(mx.nd.array(normalised))).asnumpy()[0]
    assert report["image"] == str(file) and len(report["predictions"]) == 10
    assert report["predictions"][0]["label"] == probabilities.argmax()
    for prediction in report["predictions"]:
        assert prediction["probability"] == pytest.approx(
            probabilities[prediction["label"]], abs=1e-5
        )
    assert {p["class"] for p in report["predictions"]} >= {"airplane", "truck"}


def test_predict_averages_episodes(shell: Any, digits: Path) -> None:
    file = sorted(digits.iterdir())[0]
    one, many = (
        json.loads(shell("predict", "ram_28", file, "--json", *samples)[1][0])["predictions"][0]
        for samples in ((), ("--samples", 50))
    )
    assert one["class"] == many["class"] and one["probability"] != many["probability"]


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_empty_standard_input_is_refused(
    shell: Any, tmp_path: Path, monkeypatch: Any, verb: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"\n"))))
    more = ("-o", tmp_path / "x.png") if verb == "explain" else ()
    status, out, err = shell(verb, "ram_28", "-", *more)
    assert status == 2 and not out and len(err) == 1 and "standard input is empty" in err[0]


def test_evaluate_repeats_the_result_of_a_run(shell: Any, run: Path) -> None:
    status, out, _ = shell("evaluate", run, "--json", "--num-gpus", 0)
    report, result = json.loads(out[-1]), json.loads((run / "result.json").read_text())
    assert status == 0 and report["test"] == result["test"]
    assert report["test_error"] == result["test_error"]
    assert report["data"] == {"name": "mnist", "options": {"task": "translated60", "seed": 5}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data_dir", "elsewhere", "elsewhere, which is no folder here: add --data-dir"),
        ("source", dict(name="mnist", options=dict(foo=1)), "mnist has no option 'foo'"),
        ("dtype", "float8", "dtype must be one of float32"),
        ("batch_size", 0, "batch_size must be a whole number from 1"),
    ],
)
def test_evaluate_refuses_a_config_of_wrong_values(
    shell: Any, run: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    del config["data_folder"]
    config["data" if key == "source" else "settings"][key] = value
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    status, out, err = shell("evaluate", tmp_path / "run", "--num-gpus", 0)
    assert status == 2 and not out and len(err) == 1 and message in err[0]


def test_evaluate_refuses_validation_on_images_that_were_not_held_out(
    shell: Any, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"]["options"]["validation"] = 0
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    words = ["evaluate", tmp_path / "run", "--split", "validation", "--num-gpus", 0]
    status, out, err = shell(*words)
    assert status == 2 and not out
    assert err == ["error: the run held out no validation images: leave out --split"]


def test_evaluate_takes_the_data_set_of_a_name(shell: Any) -> None:
    words = "evaluate ram_28 --num-gpus 0 --samples 1 --split validation -b 50 --data-dir".split()
    status, out, _ = shell(*words, SAMPLE / "mnist")
    assert status == 0 and "validation error" in out[0] and "mnist (task 28)" in out[1]
    assert float(out[0].split()[2]) < 10


def test_evaluate_keeps_the_error_with_mirror_images_apart(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(evaluation, "mirrored_error", lambda *_: 12.5)

    def measure(net: Any, task: Any, batches: Any, *_: Any, predicted: Any) -> Any:
        predicted.append(mx.nd.array(batches.samples.labels))
        return dict(SCORES)

    monkeypatch.setattr(evaluation, "measure", measure)
    words = ["evaluate", SLIM, "--num-gpus", 0, "--data-dir", SAMPLE / "cifar10"]
    plain, mirrored = (json.loads(shell(*words, "--json", *w)[1][0]) for w in ((), ("--tta",)))
    assert mirrored.pop("tta") == {"views": 2, "test_error": 12.5} and mirrored == plain
    out = shell(*words, "--tta")[1]
    assert "test error 50.00 % on 500 images" in out
    assert "averaged with the mirror image (--tta): error 12.50 %" in out


def test_evaluate_counts_what_is_taken_for_what(shell: Any) -> None:
    words = ["evaluate", "ram_28", "--num-gpus", 0, "-m", 1, "--data-dir", SAMPLE / "mnist"]
    report = json.loads(shell(*words, "--json")[1][0])
    counts = np.array(report["confusion"])
    images = [row["images"] for row in report["classes"]]
    assert counts.shape == (10, 10) and counts.sum(axis=1).tolist() == images
    assert counts.trace() / counts.sum() == pytest.approx(report["test"]["accuracy"])
    for row, right in zip(report["classes"], counts.diagonal()):
        assert row["accuracy"] == pytest.approx(right / row["images"])


def test_the_confusion_matrix_of_few_classes_is_printed(capsys: Any) -> None:
    evaluate.show_classes(np.array([[30, 1], [0, 0]]), ["cat\x1b", "dog"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["label", "right,", "%", "0", "1"]
    assert lines[3].split() == ["0", r"cat\x1b", "96.8", "30", "1"]
    assert lines[4].split() == ["1", "dog", "nan", ".", "."]


def test_of_many_classes_the_worst_are_printed(capsys: Any) -> None:
    counts = np.diag(np.full(120, 10))
    counts[[7, 7, 50], [9, 8, 1]] = 40, 1, 3
    evaluate.show_classes(counts, [f"c{number}" for number in range(120)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:4] == [["7", "c7", "19.6", "51"], ["50", "c50", "76.9", "13"]]
    assert [["7", "c7", "9", "c9", "40"], ["50", "c50", "1", "c1", "3"]] == lines[-3:-1]


def test_predict_writes_a_table(shell: Any, digits: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'a, "b".png'
    shutil.copy(sorted(digits.iterdir())[0], odd)
    status, out, _ = shell("predict", "ram_28", odd, "--csv", "--top", 2)
    rows = list(csv.DictReader(out))
    (report,) = map(json.loads, shell("predict", "ram_28", odd, "--json", "--top", 2)[1])
    assert status == 0 and [row["image"] for row in rows] == [str(odd)] * 2
    for rank, (row, prediction) in enumerate(zip(rows, report["predictions"]), 1):
        assert row["rank"] == str(rank) and row["class"] == prediction["class"]
        assert float(row["probability"]) == pytest.approx(prediction["probability"], rel=1e-5)
    status, out, err = shell("predict", "ram_28", odd, "--csv", "--json")
    assert status == 2 and not out and err == [err[0]] and "leave one out" in err[0]


def size_and_frames(path: Path) -> Tuple[Tuple[int, int], int]:
    with Image.open(path) as picture:
        return picture.size, getattr(picture, "n_frames", 1)


def test_explain_draws_glimpses_and_masks(
    shell: Any, digits: Path, masks: Path, tmp_path: Path
) -> None:
    assert shell("explain", "ram_28", digits, "-o", tmp_path / "looks")[0] == 0
    drawings = sorted((tmp_path / "looks").iterdir())
    assert [p.name for p in drawings] == [p.name for p in sorted(digits.iterdir())]
    files = sorted(digits.iterdir())[:2]
    status, out, _ = shell("explain", masks, *files, "-o", tmp_path / "masks.png", "--json")
    (width, height), _ = size_and_frames(tmp_path / "masks.png")
    assert json.loads(out[0])["shows"] == "masks" and width > 600 and height > 2 * 160
    shell("explain", "ram_28", files[0], "-o", tmp_path / "look.gif")
    assert size_and_frames(tmp_path / "look.gif")[1] > 1
    shell("explain", "ram_28", files[0], files[0], "-o", tmp_path / "moving", "--gif")
    assert sorted(p.name for p in (tmp_path / "moving").iterdir()) == [
        f"{files[0].stem}-2.gif",
        f"{files[0].stem}.gif",
    ]


def test_export_writes_graphs_of_the_same_outputs(
    shell: Any, run: Path, digits: Path, tmp_path: Path
) -> None:
    words = ["export", run, "-o", tmp_path / "net", "--onnx", "--int8", "--calibrate", digits]
    status, out, _ = shell(*words, "--json")
    report = json.loads(out[-1])
    assert status == 0 and [Path(file).name for file in report["files"]] == [
        *("net-symbol.json", "net-0000.params"),
        *("net-int8-symbol.json", "net-int8-0000.params", "net.json", "numpy_names.py"),
        "net.onnx",
    ]
    assert report["onnx"]["largest"] < 1e-4 and report["int8"]["images"] == 6
    description = json.loads((tmp_path / "net.json").read_text())
    assert (
        description["network"]["name"] == "ram_translated_60"
        and description["data"]["view"]["size"] == 60
    )
    with pytest.warns(UserWarning, match="Cannot decide type"):  # as MXNet does of every input
        block = mx.gluon.SymbolBlock.imports(report["files"][0], ["data"], report["files"][1])
    net = get_model("ram_translated_60", **dict(description["network"]["options"]))
    net.load_parameters(str(run / "best.params"))
    images = mx.nd.random.uniform(shape=(3, 1, 60, 60))
    np.testing.assert_array_equal(block(images).asnumpy(), net(images).asnumpy())


@pytest.mark.parametrize(
    ("flag", "module", "message"),
    [("--onnx", "onnx", "[onnx]"), ("--int8", "", "needs oneDNN")],
)
def test_export_checks_its_needs_before_it_writes(
    shell: Any, tmp_path: Path, monkeypatch: Any, flag: str, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(mx.runtime.Features, "is_enabled", lambda self, name: False)
    status, out, err = shell("export", "ram_28", "-o", tmp_path / "net", flag)
    assert status == 2 and not out and len(err) == 1 and message in err[0]
    assert not list(tmp_path.iterdir())


MISTAKES = [
    ("predict ram_28 {text}", "text.png is broken or not a picture"),
    ("predict ram_28 {folder}", "has no pictures: files that end in .jpg"),
    ("predict ram_28 nowhere.png", "cannot read nowhere.png: No such file"),
    ("predict ram_29 {text}", "did you mean 'ram_28'"),
    ("list zoo_*", "no name matches 'zoo_*'"),
    ("predict ram_28 {digit} --size 100000", "not a whole number from 1 to 16384"),
    ("predict ram_28 {digit} --mean nan", "--mean: 'nan' is not a number"),
    ("predict ram_28 {digit} --class-names {digit}", "is no text file of names"),
    ("predict {masks} {digit} --samples 2", "networks that sample glimpses"),
    ("predict {text} {digit} --model ram_28", "holds no named parameters"),
    ("predict {masks} {digit} --model ram_28", "build the net with the name"),
    ("predict {folder} {digit}", "is no run with a best epoch"),
    ("evaluate ram_28", "add --data-dir"),
    ("evaluate ram_28 --data-dir {folder}/none", "is no folder"),
    ("evaluate {masks}", "run the script that trained it with --evaluate, or add --dataset"),
    ("evaluate ram_28 --dataset mnits", "invalid choice: 'mnits'"),
    ("evaluate ram_28 --data-dir {sample} --tta", "--tta is for networks that sample no glimpses"),
    (
        "evaluate ram_28 --dataset imagenet --data-dir {sample} -b 4",
        "has 10 classes and imagenet has",
    ),
    ("explain ram_28 {digit} -o look.jpg", "must end in .png, .gif or .html"),
    ("explain ram_28 {digit} -o {text}/x", "cannot write"),
    ("explain ram_28 {digit}", "-o"),
    ("explain {masks} {digit} -o {folder}/x.png --channel 999", "channel must be"),
    ("export cifar_residual_attention92_slim -o {folder}/x", "comes without trained weights"),
    ("export ram_28 -o {folder}", "is a folder"),
    ("export ram_28 -o {text}/x", "cannot write"),
    ("export ram_28 -o {folder}/x --int8 --trace", "--int8 has logits only"),
    ("export ram_28 -o {folder}/x --int8", "add --data-dir"),
    ("export ram_28 -o {folder}/x --calibrate {digit}", "--calibrate is for --int8"),
    ("export ram_28 -o {folder}/x --images 3", "--images is for --int8"),
    ("export ram_28 -o {folder}/x --dataset cifar10 --onnx", "--dataset is for --int8"),
    ("export ram_28 -o {folder}/x --int8 --calibrate {digit} --seed 1", "has its own pictures"),
    ("export {masks} -o {folder}/x --int8", "give pictures by --calibrate, or add --dataset"),
    ("export {masks} -o {folder}/x --untrained", "--untrained is for a name"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_mistakes_are_one_line_and_write_nothing(
    shell: Any, digits: Path, masks: Path, tmp_path: Path, words: str, message: str
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder").mkdir()
    files = dict(
        text=tmp_path / "text.png",
        folder=tmp_path / "folder",
        digit=sorted(digits.iterdir())[0],
        masks=masks,
        sample=SAMPLE / "imagenet",
    )
    status, out, err = shell(*(word.format(**files) for word in words.split()))
    assert status == 2 and not out and len(err) == 1 and message in err[0]
    assert not list((tmp_path / "folder").iterdir())
