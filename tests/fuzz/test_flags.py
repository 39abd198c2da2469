"""Every flag of every command with any value: accepted, or one line and status 2."""

from __future__ import annotations

import dataclasses
import runpy
import sys
from pathlib import Path

from gluon_attention import __main__ as command_line
from gluon_attention.command_line import command
from gluon_attention.training import engine
from gluon_attention.training.config import Config

import pytest
from cub_writer import write_cub
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
SCRIPTS = sorted(path.name for path in (ROOT / "train").glob("*.py"))

NUMBERS = st.one_of(
    st.integers(-3, 300).map(str),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        ["nan", "-inf", "inf", "1e999", "10" * 200, "0x10", "1_0", "\u0663", " 7 ", "-0"]
    ),
)
VALUES = st.one_of(
    NUMBERS,
    st.lists(NUMBERS, max_size=4).map(",".join),
    st.text(max_size=12),
    st.sampled_from(
        ["", "-", "--", "0", "1", "a\nb", "\0", "\udcff", "~", "x" * 5000, "../up", "=,=("]
    ),
)


def settings_of(name):
    """The settings of a script, from the module whose `main` it calls."""
    module = runpy.run_path(str(ROOT / "train" / name))["main"].__module__
    kinds = [v for v in vars(sys.modules[module]).values() if isinstance(v, type)]
    return next(v for v in kinds if issubclass(v, Config) and v.__module__ == module)


def flags_of(kind):
    """Flags, each with likely and unlikely values."""
    flags = {}
    for field in dataclasses.fields(kind):
        choices = [str(choice) for choice in field.metadata["choices"] or ()]
        for flag in ("--" + field.name.replace("_", "-"), *field.metadata["flags"]):
            flags[flag] = st.sampled_from(choices) | VALUES if choices else VALUES
    return flags


def lines(flags):
    """Command lines of some of the flags, with and without values, joined and apart."""

    def worded(flag):
        alone, value = st.just([flag]), flags[flag]
        return st.one_of(
            value.map(lambda v: [flag, v]), value.map(lambda v: [f"{flag}={v}"]), alone
        )

    valid = st.sampled_from(sorted(flags)).flatmap(worded)
    stray = VALUES.map(lambda value: [value])
    several = st.lists(st.one_of(valid, valid, valid, stray), max_size=5)
    return several.map(lambda parts: [word for part in parts for word in part])


@pytest.mark.parametrize("name", ["Config", *SCRIPTS])
def test_any_arguments_are_settings_or_refused(fuzz, refused, name):
    kind = Config if name == "Config" else settings_of(name)

    def check(words):
        try:
            refused(lambda: kind.parse(words))
        except SystemExit as ended:  # --help
            assert ended.code == 0

    fuzz(12, lines(flags_of(kind)), check)


COMMANDS = {
    "list": {"--aliases": VALUES, "--json": VALUES, "ram*": VALUES},
    "info": {"ram_29": VALUES, "racnn": VALUES, "--json": VALUES},
    "launch": {flag: VALUES for flag in ("-n", "-s", "--workers", "--servers", "--hostfile", "--")},
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_any_arguments_are_a_command_or_refused(fuzz, verb, monkeypatch, capsys):
    monkeypatch.setattr("gluon_attention.commands.launch.launch", lambda *words: 0)

    def check(words):
        with pytest.raises(SystemExit) as ended:
            command_line.main([verb, *words])
        errors = capsys.readouterr().err.splitlines()
        assert (ended.value.code, len(errors)) in ((0, 0), (2, 1)), (words, errors)

    fuzz(5, lines(COMMANDS[verb]), check)


# Arguments of a small run; they come after the random ones, because the last value counts.
SMALL = {
    "cifar10_train.py": "--shape slim --num-layers 56 -b 8",
    "mnist_train.py": "-b 8",
    "cub200_train.py": "--dataset cub --backbone tiny --size 32 --crops 16,16 -b 4",
    "imagenet_train.py": "--model cifar_residual_attention56_slim --size 32 -b 2",
}
DATA = {"cifar10": "cifar10", "mnist": "mnist", "imagenet": "imagenet"}
SLOW = [s for s in SMALL if s != "mnist_train.py"]
# Large is slow, and that is no mistake; a type changes MXNet for good; places are given.
LEFT = "data-dir log-dir num-gpus batch-size kvstore num-layers shape validation glimpses samples"
LEFT += " dtype dataset model backbone backbone-weights size crops shrink"
OPTIONS = st.dictionaries(
    st.sampled_from(["patch", "scales", "glimpses", "channels", "widths", "std", "core", "move"]),
    st.one_of(NUMBERS, st.text(max_size=5), st.sampled_from(["rnn", "(8,8,8,8,8)", "()", "lstm"])),
).map(lambda options: ",".join(f"{name}={value}" for name, value in options.items()))


def begun(words, monkeypatch, name):
    """Run a script up to and including its first step."""

    def first(run):
        run.monitor.begin_epoch(0)
        images, labels = next(iter(run.train_batches.epoch(0)))
        shards = engine.split(images, labels, run.workers.devices)
        for update in run.task.updates(0):
            run.apply(update, shards, 0)
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(engine.Run, "complete", first)
        patch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(ROOT / "train" / name), run_name="__main__")


@pytest.mark.parametrize(
    "name", ["mnist_train.py", *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)]
)
def test_accepted_settings_can_make_a_step(fuzz, monkeypatch, capsys, tmp_path, name):
    left = {f"--{flag}" for flag in LEFT.split()} | {"-b", "-m"}
    flags = {f: words for f, words in flags_of(settings_of(name)).items() if f not in left}
    if name == "mnist_train.py":
        flags["--options"] = OPTIONS
    data = SAMPLE / DATA.get(name.partition("_")[0], "")
    if name == "cub200_train.py":
        data = tmp_path / "birds"
        write_cub(str(data), 40, size=32, coarse=16)
    fixed = [*SMALL[name].split(), "--num-gpus", "0", "--log-dir", str(tmp_path)]
    fixed += ["--data-dir", str(data), "--log-interval", "1"]

    def check(words):
        with pytest.raises(SystemExit) as ended:
            begun([*words, *fixed], monkeypatch, name)
        errors = capsys.readouterr().err.splitlines()
        assert ended.value.code in (0, 2), (words, errors)
        assert len(errors) == (ended.value.code == 2), (words, errors)

    fuzz(2, lines(flags), check)


def test_a_message_is_one_line_whatever_its_argument_contains(capsys):
    def fail():
        Config.parse(["--lr", "a\nb\rc"])

    with pytest.raises(SystemExit) as ended:
        command(fail)
    errors = capsys.readouterr().err
    assert ended.value.code == 2 and len(errors.splitlines()) == 1 and "a\\nb\\rc" in errors
