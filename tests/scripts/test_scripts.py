"""The training scripts as a user starts them, and killed ones that resume."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

from gluon_attention.training import devices, engine
from gluon_attention.training.devices import has_bfloat16

import numpy as np
import pytest
from cub_writer import write_cub

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
QUICK_RAM = ["--data-dir", str(SAMPLE / "mnist"), *"-b 250 --glimpses 2 --validation 100".split()]


def command_line(script, folder, *flags):
    return [sys.executable, str(ROOT / "train" / script), "--log-dir", str(folder), *flags]


def start(script, folder, *flags, **options):
    """Run a script to its end on one thread."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    command = command_line(script, folder, "--num-gpus", "0", *flags)
    return subprocess.run(command, env=environment, capture_output=True, text=True, **options)


def run_here(monkeypatch, capsys, script, folder, *flags):
    """Run a script in this process, which is faster: exit status and lines of errors."""
    monkeypatch.setattr(sys, "argv", command_line(script, folder, "--num-gpus", "0", *flags)[1:])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return exit_.value.code, capsys.readouterr().err.splitlines()


def opened_run(monkeypatch, capsys, script, folder, *flags):
    """The `Run` of a script as it is before its first epoch."""
    runs = []
    monkeypatch.setattr(engine.Run, "complete", lambda run: runs.append(run) or {})
    status, errors = run_here(monkeypatch, capsys, script, folder, *flags)
    assert status == 0, errors
    return runs[0]


def arrays(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files if name != "progress"}


@pytest.fixture(scope="module")
def tiny_cifar(tmp_path_factory):
    """Forty random pictures in the layout of CIFAR-10."""
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-bin"
    folder.mkdir()
    rng, files = np.random.RandomState(0), {}
    for name, count in [("data_batch_1.bin", 40), ("test_batch.bin", 10)]:
        records = rng.randint(256, size=(count, 3073)).astype("uint8")
        records[:, 0] = np.arange(count) % 10
        (folder / name).write_bytes(records.tobytes())
        digest = hashlib.sha256(records.tobytes()).hexdigest()
        files[name] = {"sha256": digest, "count": count}
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)))
    (folder / "MANIFEST.json").write_text(json.dumps({"files": files}))
    return folder.parent


def test_cifar10(tmp_path, tiny_cifar):
    flags = "--shape slim --epochs 1 -b 16 --mix-up 1 --cutout 8 --epsilon 0.1 --clip 5 --ema 0.9"
    flags += " --options mask=local --label-noise 0.5"
    flags += f" --dtype {'bfloat16' if has_bfloat16() else 'float32'}"
    process = start("cifar10_train.py", tmp_path, "--data-dir", str(tiny_cifar), *flags.split())
    assert process.returncode == 0, process.stderr
    run = tmp_path / "cifar10-cifar_residual_attention56_slim"
    result = json.loads((run / "result.json").read_text())
    assert result["test_images"] == 10 and result["parameters"] == 1030394
    assert (run / "masks.png").stat().st_size > 10000
    network = json.loads((run / "config.json").read_text())["network"]
    assert network["options"] == {"mask": "local"}
    for name in ("best.params", "curves.png", "masks.png"):
        assert str(run / name) in process.stdout


def test_flags_of_cifar10_reach_network_data_and_task(tmp_path, tiny_cifar, monkeypatch, capsys):
    flags = "--shape slim --options attention=naive --cutout 4 --crop 16 --label-noise 1 -b 8"
    flags += " --validation 3 --mix-up --alpha 2 --epsilon 0.2 --seed 7"
    flags = ["--data-dir", str(tiny_cifar), *flags.split()]
    run = opened_run(monkeypatch, capsys, "cifar10_train.py", tmp_path, *flags)
    name, options = "cifar_residual_attention56_slim", {"attention": "naive"}
    assert run.net.arguments == dict(name=name, classes=10, options=options)
    source = run.splits.source["options"]
    assert (source["cutout"], source["crop"], source["seed"], source["validation"]) == (4, 16, 7, 3)
    assert run.splits.train.load(np.arange(2), np.random.default_rng(0)).shape == (2, 3, 16, 16)
    flags[flags.index("--label-noise") + 1] = "0"
    plain = opened_run(monkeypatch, capsys, "cifar10_train.py", tmp_path, *flags)
    assert (run.splits.train.labels != plain.splits.train.labels).all()
    assert (run.task.mixup.alpha, run.task.smoothing) == (2, 0.2)


def test_flags_of_mnist_reach_network_data_and_task(tmp_path, monkeypatch, capsys):
    flags = "--task cluttered60 --glimpses 3 --augment 0.5 --samples 2 --reward right -b 50"
    flags = ["--data-dir", str(SAMPLE / "mnist"), *flags.split(), "--options", "std=0.2"]
    run = opened_run(monkeypatch, capsys, "mnist_train.py", tmp_path, *flags)
    options = {"glimpses": 3, "std": 0.2}
    assert run.net.arguments == dict(name="ram_cluttered_60", classes=10, options=options)
    source = run.splits.source["options"]
    assert (source["task"], source["augment"]) == ("cluttered60", 0.5)
    assert (run.task.samples, run.task.episode_loss.reward) == (2, "right")


def test_flags_of_imagenet_reach_network_and_data(tmp_path, monkeypatch, capsys):
    flags = "--model cifar_residual_attention56_slim --size 32 --jitter 0.2 --lighting 0.3 -b 2"
    flags = ["--data-dir", str(SAMPLE / "imagenet"), *flags.split(), "--validation", "4"]
    run = opened_run(monkeypatch, capsys, "imagenet_train.py", tmp_path, *flags)
    assert run.net.arguments["name"] == "cifar_residual_attention56_slim"
    source = run.splits.source["options"]
    assert (source["size"], source["jitter"], source["lighting"]) == (32, 0.2, 0.3)
    assert run.task.smoothing == 0.1 and run.config.warmup_epochs == 5


def test_cifar100_starts_from_weights_of_cifar10(tmp_path):
    folder = tmp_path / "data" / "cifar-100-binary"
    folder.mkdir(parents=True)
    records = np.random.RandomState(0).randint(256, size=(100, 3074)).astype("uint8")
    records[:, 0], records[:, 1] = np.arange(100) // 5, np.arange(100)
    digest = hashlib.sha256(records.tobytes()).hexdigest()
    for name in ("train.bin", "test.bin"):
        (folder / name).write_bytes(records.tobytes())
    files = {name: {"sha256": digest} for name in ("train.bin", "test.bin")}
    (folder / "MANIFEST.json").write_text(json.dumps({"files": files}))
    weights = ROOT / "gluon_attention/weights/cifar_residual_attention56_slim.params"
    flags = "--dataset cifar100 --shape slim --epochs 1 -b 45 --crop 8 --start-from".split()
    place = ["--data-dir", str(tmp_path / "data")]
    process = start("cifar10_train.py", tmp_path, *place, *flags, str(weights))
    assert process.returncode == 0, process.stderr
    run = tmp_path / "cifar100-cifar_residual_attention56_slim"
    assert json.loads((run / "config.json").read_text())["network"]["classes"] == 100


def test_an_option_given_by_its_flag_and_by_options_is_refused(tmp_path, monkeypatch, capsys):
    flags = [*QUICK_RAM, "--options", "glimpses=3"]
    status, errors = run_here(monkeypatch, capsys, "mnist_train.py", tmp_path, *flags)
    assert status == 2 and errors == [
        "error: --glimpses and --options both set glimpses: leave out one"
    ]


def test_imagenet_trains_any_network(tmp_path):
    flags = "--model cifar_residual_attention56_slim --size 32 --epochs 1 -b 4"
    process = start(
        "imagenet_train.py", tmp_path, "--data-dir", str(SAMPLE / "imagenet"), *flags.split()
    )
    assert process.returncode == 0, process.stderr


def test_cub200_reads_the_layout_of_the_birds(tmp_path):
    write_cub(str(tmp_path / "birds"), 40, size=32, coarse=16)
    flags = "--backbone tiny --size 32 --crops 16,16 --stages 0,0,0 --epochs 1 --accumulate 2 -b 8"
    process = start(
        "cub200_train.py", tmp_path, "--data-dir", str(tmp_path / "birds"), *flags.split()
    )
    assert process.returncode == 0, process.stderr
    run = tmp_path / "cub-racnn_mobilenet_v2"
    result = json.loads((run / "result.json").read_text())
    assert result["test_images"] == 16 and 0 <= result["test"]["box_centre_in_region"] <= 1
    assert str(run / "boxes.gif") in process.stdout


def test_cub200_has_a_preset_for_generated_scenes(tmp_path, monkeypatch, capsys):
    flags = ("--dataset", "detail", "--evaluate")
    status, errors = run_here(monkeypatch, capsys, "cub200_train.py", tmp_path, *flags)
    assert status == 2 and len(errors) == 1 and "no run to evaluate" in errors[0]


def test_a_dtype_the_network_cannot_train_in_is_refused(tmp_path):
    process = start(
        "mnist_train.py", tmp_path, "--data-dir", str(SAMPLE / "mnist"), "--dtype", "bfloat16"
    )
    reason = "trains in float32" if has_bfloat16() else "needs a processor with AVX-512"
    assert process.returncode == 2 and reason in process.stderr


@pytest.mark.slow
@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")
def test_losses_in_bfloat16_are_near_those_in_float32(tmp_path, tiny_cifar):
    losses = []
    for dtype in ("float32", "bfloat16"):
        flags = f"--shape slim --epochs 1 -b 16 --lr 0.01 --dtype {dtype} --name {dtype}"
        process = start("cifar10_train.py", tmp_path, "--data-dir", str(tiny_cifar), *flags.split())
        assert process.returncode == 0, process.stderr
        history = (tmp_path / dtype / "history.csv").read_text().splitlines()
        losses.append(float(next(csv.DictReader(history))["train/cross_entropy"]))
    assert losses[0] != losses[1] and abs(losses[0] - losses[1]) < 0.02 * losses[0], losses


def test_bfloat16_without_avx512_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "has_bfloat16", lambda: False)
    flags = "--shape slim --dtype bfloat16"
    status, errors = run_here(monkeypatch, capsys, "cifar10_train.py", tmp_path, *flags.split())
    assert status == 2 and len(errors) == 1 and "bfloat16 needs a processor with AVX" in errors[0]


def test_bfloat16_is_detected_by_the_flags_of_the_processor(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    assert has_bfloat16(str(cpuinfo))  # not Linux
    for flags, expected in (
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx512f avx512dq avx512bw avx512vl\n", True),
        ("Features\t: fp asimd bf16\n", True),  # not x86: assumed
    ):
        cpuinfo.write_text(f"processor\t: 0\n{flags}power management:\n")
        assert has_bfloat16(str(cpuinfo)) == expected


FEATURE_PRODUCTS = """
from gluon_attention import get_model
from gluon_attention.training import devices
import mxnet as mx

devices.has_bfloat16 = lambda: True  # nothing is computed
devices.set_precision("bfloat16", [mx.cpu()])
graph = get_model("cifar_residual_attention56_slim")(mx.sym.var("images")).get_internals()
_, types, _ = graph.infer_type(images="float32")
products = [t for n, t in zip(graph.list_outputs(), types) if "elemwise_mul" in n]
convolutions = [t for n, t in zip(graph.list_outputs(), types) if "conv" in n and "_fwd" in n]
print(len(products), set(products), set(convolutions))
"""


def test_elementwise_products_stay_in_float32():
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FEATURE_PRODUCTS], capture_output=True, text=True
    )
    assert "3 {<class 'numpy.float32'>} {dtype([('bfloat16'" in process.stdout, (
        process.stdout + process.stderr
    )


def test_options_of_ram_decide_its_size(tmp_path, monkeypatch, capsys):
    flags = [*QUICK_RAM, "--epochs", "1"]
    options = "core=lstm,widths=(8,8,16,16,8),std=0.2"
    process = start("mnist_train.py", tmp_path, *flags, "--options", options)
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "mnist-28" / "result.json").read_text())["parameters"] == 3439
    flags += ["--options", "cores=lstm", "--name", "typo"]
    status, errors = run_here(monkeypatch, capsys, "mnist_train.py", tmp_path, *flags)
    assert status == 2 and len(errors) == 1 and "cores" in errors[0] and "core" in errors[0]


def test_a_killed_run_resumes_to_the_same_result(tmp_path):
    flags = [*QUICK_RAM, "--epochs", "3"]
    whole = start("mnist_train.py", tmp_path / "whole", *flags)
    assert whole.returncode == 0, whole.stderr

    command = command_line("mnist_train.py", tmp_path / "cut", "--num-gpus", "0", *flags)
    run = tmp_path / "cut" / "mnist-28"
    victim = subprocess.Popen(
        command, env=dict(os.environ, OMP_NUM_THREADS="1"), stdout=subprocess.DEVNULL
    )
    deadline = time.time() + 60
    while not (run / "history.csv").exists() and time.time() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # some way into an epoch
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert (run / "last.npz").exists() and not (run / "result.json").exists()

    again = start("mnist_train.py", tmp_path / "cut", *flags)
    assert again.returncode == 0 and "resuming after epoch" in again.stdout, again.stderr
    one, other = arrays(tmp_path / "whole" / "mnist-28" / "last.npz"), arrays(run / "last.npz")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    tables = [
        list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
        for folder in (tmp_path / "whole" / "mnist-28", run)
    ]
    for row, twin in zip(*tables):
        assert {k: v for k, v in row.items() if "second" not in k} == {
            k: v for k, v in twin.items() if "second" not in k
        }


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--num-layers", "93"], "'93' is not one of 56, 92, 128"),
        (["--num-layer", "92"], "did you mean --num-layers"),
        (["--data-dir", "/nowhere"], "/nowhere"),
        (["--num-gpus", "99"], "--num-gpus 0"),
        (["--log-dir", "/proc/runs"], "/proc/runs"),
        (["--dtype", "float16"], "float16 needs a GPU"),
        (["--options", "mask=locl"], "mask must be one of encoder_decoder, local, not 'locl'"),
        (["--options", "masks=local"], "masks"),
        (["--lr", "1e9", "--log-interval", "2"], "learning rate"),
    ],
)
def test_mistakes_are_one_line(tmp_path, tiny_cifar, monkeypatch, capsys, flags, sentence):
    flags = ["--data-dir", str(tiny_cifar), "--shape", "slim", "-b", "16", *flags]
    status, errors = run_here(monkeypatch, capsys, "cifar10_train.py", tmp_path, *flags)
    assert status == 2 and len(errors) == 1 and sentence in errors[0], errors
    assert not list(tmp_path.rglob("*.params"))
