"""The benchmarks: contestants in processes, rows that are complete, tables that are current."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

from gluon_attention import UserError

import pytest
import speed
from figures import cases, glimpses_chart, rows, runs, speed_chart, tables
from peers import protocol

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"

FAKE = """
import sys, time
sys.path.insert(0, {peers!r})
from protocol import Ready, serve

def setup(case):
    print("output of a library")
    if case["network"] == "broken":
        raise ValueError("no such network\\nand more")
    if case["network"] == "dead":
        raise SystemExit("out of memory")
    multiply_adds = 1000 if case["network"] in ("counted", "product") else 0
    return Ready(lambda steps: time.sleep(0.01 * steps), 7, "fake 1", multiply_adds)

serve(setup)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(peers=str(BENCHMARKS / "peers")))
    with protocol.Worker([sys.executable, str(script)]) as started:
        yield started


def row(**changes: str) -> rows.Row:
    facts = dict(samples="", seed="3", epochs="2", parameters="1234567", machine="m, 2 cores")
    facts.update(date="2026-01-31", commit="abc1234", command="python train/mnist_train.py")
    return rows.Row("ram_28", "mnist", "test_error", "1.25", "%", "", **facts)._replace(**changes)


def test_a_worker_replies(worker: Any) -> None:
    ready = worker.ask(do="setup", case={"network": "fine"})
    assert ready == {"parameters": 7, "version": "fake 1", "multiply_adds": 0}
    reply = worker.ask(do="run", steps=5)
    assert 0.05 <= reply["seconds"] < 5
    assert 1 < reply["peak_mb"] < 10000


def test_a_worker_reports_its_error(worker: Any) -> None:
    with pytest.raises(protocol.WorkerError, match=r"^ValueError: no such network$"):
        worker.ask(do="setup", case={"network": "broken"})
    assert worker.ask(do="setup", case={"network": "fine"})["parameters"] == 7


def test_a_worker_that_dies_is_reported(worker: Any) -> None:
    with pytest.raises(protocol.WorkerError, match="ended without a reply: out of memory"):
        worker.ask(do="setup", case={"network": "dead"})
    with pytest.raises(protocol.WorkerError):
        worker.ask(do="run", steps=1)


def test_a_silent_worker_is_killed(worker: Any) -> None:
    worker.ask(do="setup", case={"network": "fine"})
    with pytest.raises(protocol.WorkerError, match="ended without a reply"):
        worker.ask(timeout=0.2, do="run", steps=10**6)


def test_peers_inherit_no_threads_from_the_package() -> None:
    code = "import os, speed; flags = speed.parse([]); assert os.environ['OMP_NUM_THREADS']\n"
    code += (
        "from peers import protocol; assert not [v for v in protocol.ENVIRONMENT if 'OMP_' in v]"
    )
    environment = {name: text for name, text in os.environ.items() if "OMP_" not in name}
    words = [sys.executable, "-c", code]
    process = subprocess.run(words, cwd=BENCHMARKS, env=environment, stderr=subprocess.PIPE)
    assert process.returncode == 0, process.stderr


def test_contestants_take_turns(tmp_path: Path, monkeypatch: Any) -> None:
    script = tmp_path / "fake.py"
    script.write_text(FAKE.format(peers=str(BENCHMARKS / "peers")))
    monkeypatch.setattr(speed, "command_of", lambda peer, python: [python, str(script)])
    flags = speed.parse(["--rounds", "3", "--seconds", "0.02"])
    networks = {"ours": "counted", "gluoncv": "broken", "torch": "fine", "product": "product"}
    case = speed.Case((1, 2, 2), 10, networks)
    pythons = dict.fromkeys(networks, sys.executable)
    job = dict(mode="train", dtype="bfloat16", batch=4)
    figures, failed = speed.contest(flags, case, job, list(networks), pythons)
    assert failed == 1 and list(figures) == ["ours", "torch", "product"]
    assert [len(f.rates) for f in figures.values()] == [3, 3, 3]
    assert 0 < figures["ours"].rates[0] <= 400
    new = speed.rows_of(case, job, figures)
    assert [r.problem() for r in new] == [None] * len(new)
    assert [r.metric for r in new if r.against == "torch"] == ["train_bfloat16_b4_ratio"]
    share = [float(r.value) for r in new if r.metric == "train_bfloat16_b4_peak_share"]
    three_passes = 300 * speed.ratio(figures["ours"], figures["product"])  # as many products each
    assert share == [pytest.approx(three_passes, rel=1e-4)]
    assert "7 parameters" in speed.table(figures, 3)


def test_types_of_the_contestants() -> None:
    assert cases.type_of("torch_compile", "inference", "int8") == "bfloat16"
    assert cases.type_of("gluoncv", "inference", "int8") == "float32"
    assert cases.type_of("onnxruntime", "inference", "int8") == "int8"
    assert not cases.type_of("onnxruntime", "train", "float32")
    assert not cases.type_of("ours", "train", "int8")
    assert cases.type_of("torch", "train", "bfloat16") == "bfloat16"


def test_a_chart_shows_every_ratio(tmp_path: Path) -> None:
    path = tmp_path / "speed.png"
    speed_chart.draw(speed_rows(), str(path))
    small = path.read_bytes()
    assert small.startswith(b"\x89PNG")
    more = [row(seed="", metric="train_b1_ratio", value="3", unit="x", against="gluoncv")]
    speed_chart.draw([*speed_rows(), *more], str(path))
    assert len(path.read_bytes()) > len(small)


def test_errors_by_glimpses_are_means_over_the_seeds_of_one_number_of_episodes() -> None:
    def error(dataset: str, value: str, samples: str = "10", seed: str = "0") -> rows.Row:
        return row(
            name="ram_28",
            dataset=dataset,
            metric="test_error",
            value=value,
            samples=samples,
            seed=seed,
        )

    table = [
        error("mnist-28, 2 glimpses", "3"),
        error("mnist-28", "0.9"),  # replaced by the next row
        error("mnist-28", "0.6"),
        error("mnist-28", "0.8", seed="1"),
        error("mnist-28", "1.5", samples="1"),
        error("mnist-translated60", "0.8"),
    ]
    assert glimpses_chart.errors(table, "10") == pytest.approx({2: 3, 6: 0.7})
    assert glimpses_chart.errors(table, "1") == {6: 1.5}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, None),
        ({"value": "nan"}, "value cannot be 'nan'"),
        ({"value": ""}, "value is empty"),
        ({"seed": ""}, "seed is empty"),
        ({"seed": "", "metric": "train_b32_peak_mb"}, None),
        ({"metric": "train_b32_ratio"}, "against belongs to a ratio, and to nothing else"),
        ({"against": "torch"}, "against belongs to a ratio, and to nothing else"),
        ({"date": "31.1.26"}, "date cannot be '31.1.26'"),
        ({"commit": "main"}, "commit cannot be 'main'"),
        ({"parameters": "1.2M"}, "parameters cannot be '1.2M'"),
    ],
)
def test_rows_are_checked(changes: dict, problem: Any) -> None:
    assert row(**changes).problem() == problem


def test_rows_are_appended_all_or_none(tmp_path: Path) -> None:
    path = str(tmp_path / "results.csv")
    rows.append([row()], path)
    rows.append([row(command='python "a, b"')], path)
    with pytest.raises(ValueError, match="seed is empty"):
        rows.append([row(), row(seed="")], path)
    assert rows.read(path) == [row(), row(command='python "a, b"')]
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_an_incomplete_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("name,value\n")
    with pytest.raises(ValueError, match="the first line must be"):
        rows.read(str(path))
    path.write_text(",".join(rows.Row._fields) + "\nram_28,mnist\n")
    with pytest.raises(ValueError, match=":2: 2 values, not 14"):
        rows.read(str(path))


def speed_rows() -> List[rows.Row]:
    plain = dict(seed="", epochs="", metric="train_b32_images_per_second", unit="images/s")
    return [
        row(**plain, value="90"),
        row(**plain, value="100"),
        row(**plain, value="50", name="torch recurrent_attention:28"),
        row(**{**plain, "metric": "train_b32_ratio"}, value="2", against="torch"),
    ]


def test_tables_show_the_latest_rows() -> None:
    table_rows = [*speed_rows(), row(value="2.5"), row(), row(samples="10", value="0.5")]
    text = "# A\n<!-- results:speed -->\nold\n<!-- end -->\nB\n"
    page = tables.rendered(text, table_rows)
    assert "| ram_28 | train | 32 | 100 | - | - | - | 2.00 | - | - |" in page
    assert page.startswith("# A\n<!-- results:speed -->\n| network") and page.endswith("-->\nB\n")
    assert "old" not in page and "90" not in page and "recurrent" not in page
    assert tables.rendered(page, table_rows) == page
    errors = tables.errors_table([r for r in tables.latest(table_rows) if r.metric == "test_error"])
    assert "1.25 %" in errors and "| 10 | 0.50 %" in errors and "2.50" not in errors


def test_a_machine_measures_again_after_another() -> None:
    """The last row counts, although its machine also has the first."""
    machines = {"90": "AMD EPYC, 2 cores", "91": "Xeon, 2 cores", "92": "AMD EPYC, 2 cores"}
    table_rows = [
        row(metric=metric, value=value, seed="", machine=machine)
        for value, machine in machines.items()
        for metric in ("float32_accuracy", "int8_accuracy", "int8_agreement")
    ]
    page = tables.rendered("<!-- results:eight_bits -->\n<!-- end -->", table_rows)
    assert "92.00 %" in page and "91.00 %" not in page


def test_8_bits_stand_beside_float32() -> None:
    values = dict(float32_accuracy="98.5", int8_accuracy="98.25", int8_agreement="99")
    table_rows = [row(metric=m, value=v, seed="") for m, v in values.items()]
    page = tables.rendered("<!-- results:eight_bits -->\n<!-- end -->", table_rows)
    assert "| ram_28 | mnist | 98.50 % | 98.25 % | 99.00 % |" in page


def test_decoding_stands_beside_training() -> None:
    trained = dict(metric="train_b32_images_per_second", unit="images/s")
    decoded = dict(name="input", metric="images_per_second", unit="images/s")
    table_rows = [
        row(**trained, value="100"),
        row(**trained, value="50")._replace(metric="train_bfloat16_b32_images_per_second"),
        row(**decoded, dataset="mnist_28", value="2500"),
        row(**decoded, dataset="else", value="7"),
    ]
    lines = tables.inputs_table(table_rows).splitlines()[2:]
    assert lines == ["| mnist_28 | 2,500 | `ram_28` | 100 | 25 |", "| else | 7 | - | - | - |"]


def test_scales_have_a_line_per_seed() -> None:
    metrics = {"accuracy_1": "25", "accuracy": "90.625", "side_2": "55", "cross_entropy": "7"}
    table_rows = [row(metric=m, value=v, seed=s) for s in "01" for m, v in metrics.items()]
    lines = tables.scales_table(table_rows).splitlines()
    assert lines[2] == "| ram_28 | mnist | 0 | 2 | 25.0 | - | - | 90.6 | - | - | - | 55.0 | - |"
    assert len(lines) == 4


def test_a_command_is_recorded_without_folders() -> None:
    command = runs.portable_command(
        "train/a.py --log-dir=/x -j 2 --backbone-weights /w --lr 1 --b=c"
    )
    assert command == "python train/a.py --backbone-weights=FILE --lr 1 --b=c"
    for program in ("/venv/bin/gluon-attention", "/clone/gluon_attention/__main__.py"):
        command = runs.portable_command(f"{program} train mnist --lr 1 --log-dir /x")
        assert command == "gluon-attention train mnist --lr 1"


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="'sped'; there are speed,"):
        tables.rendered("<!-- results:sped -->\n<!-- end -->", [])


def test_results_are_complete() -> None:
    assert rows.read()
    with open(rows.PATH, newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(rows.Row._fields)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--cases", "residual93"], "invalid choice: 'residual93'"),
        (["--batches", "0"], "'0' is not a whole number from 1"),
        (["--sped"], "unknown flag --sped"),
        (["--smoke", "--write"], "--write"),
    ],
)
def test_a_bad_flag_is_refused(flags: List[str], problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        speed.parse(flags)


def measured(case: str, *peers: str) -> str:
    """What speed.py prints of one training step of some contestants."""
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--cases", case, "--peers", *peers]
    command += "--modes train --batches 2 --rounds 1 --seconds 0.01".split()
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_our_network_is_measured() -> None:
    assert "244,375 parameters" in measured("ram28", "ours")


@pytest.mark.slow
def test_gluoncv_has_the_same_parameters() -> None:
    assert measured("residual56", "ours", "gluoncv").count("7,202,794 parameters") == 2


TORCH = os.environ.get("TORCH_PYTHON") or (importlib.util.find_spec("torch") and sys.executable)
if TORCH:

    @pytest.mark.parametrize(
        ("network", "shape", "parameters"),
        [
            ("residual_attention:56", (3, 32, 32), 7202794),
            ("residual_attention:56:slim", (3, 32, 32), 1030394),
            ("recurrent_attention:28", (1, 28, 28), 244375),
            ("glimpse:32", (3, 128, 128), 54559755),
            ("ra_cnn:32", (3, 64, 64), 8227934),
        ],
    )
    def test_torch_has_the_same_parameters(network: str, shape: Any, parameters: int) -> None:
        script = str(BENCHMARKS / "peers" / "torch_worker.py")
        case = dict(network=network, classes=10, shape=shape, mode="train", batch=2)
        case["dtype"] = "float32"
        with protocol.Worker([TORCH, script, "eager"]) as started:
            assert started.ask(do="setup", case=case)["parameters"] == parameters
            assert started.ask(do="run", steps=1)["seconds"] > 0
