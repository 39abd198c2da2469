"""Every flag of every command with any word: accepted, or one line and status 2."""

from __future__ import annotations

import dataclasses
import importlib.util
import runpy
import sys
from pathlib import Path

from gluon_attention import __main__ as command_line
from gluon_attention.training import engine
from gluon_attention.training.config import Config, command

import pytest
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
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
    """The settings of a script, which is imported as a module for it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "train" / name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kinds = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Config)]
    return next(kind for kind in kinds if kind.__module__ == name)


def flags_of(kind):
    """Flags and the words that they are fond of."""
    found = {}
    for field in dataclasses.fields(kind):
        known = [str(choice) for choice in field.metadata["choices"] or ()]
        for flag in ("--" + field.name.replace("_", "-"), *field.metadata["flags"]):
            found[flag] = st.sampled_from(known) | VALUES if known else VALUES
    return found


def lines(flags):
    """Command lines of some of the flags, with and without values, joined and apart."""

    def worded(flag):
        alone, value = st.just([flag]), flags[flag]
        return st.one_of(
            value.map(lambda v: [flag, v]), value.map(lambda v: [f"{flag}={v}"]), alone
        )

    known = st.sampled_from(sorted(flags)).flatmap(worded)
    stray = VALUES.map(lambda value: [value])
    several = st.lists(st.one_of(known, known, known, stray), max_size=5)
    return several.map(lambda parts: [word for part in parts for word in part])


@pytest.mark.parametrize("name", ["Config", *SCRIPTS])
def test_any_words_are_settings_or_refused(fuzz, refused, name):
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
def test_any_words_are_a_command_or_refused(fuzz, verb, monkeypatch, capsys):
    monkeypatch.setattr("gluon_attention.commands.launch.launch", lambda *words: 0)

    def check(words):
        with pytest.raises(SystemExit) as ended:
            command_line.main([verb, *words])
        told = capsys.readouterr().err.splitlines()
        assert (ended.value.code, len(told)) in ((0, 0), (2, 1)), (words, told)

    fuzz(5, lines(COMMANDS[verb]), check)


# What a run is small with; what is drawn comes before it, as the last word on a flag counts.
SMALL = {
    "cifar10_train.py": "--shape slim --num-layers 56 -b 8",
    "mnist_train.py": "-b 8",
    "cub200_train.py": "--dataset detail --backbone tiny --size 32 --shrink 2 --crops 16,16 -b 4",
    "imagenet_train.py": "--model ram_28 --num-layers 56 --size 32 -b 2",
    "stanford_dogs_train.py": "--dataset detail --backbone tiny --patch 16 --hidden 8 -b 4",
}
DATA = {"cifar10": "cifar10", "mnist": "mnist", "imagenet": "imagenet"}
OPTIONS = st.dictionaries(
    st.sampled_from(["patch", "scales", "glimpses", "channels", "widths", "std", "core", "move"]),
    st.one_of(NUMBERS, st.text(max_size=5), st.sampled_from(["rnn", "(8,8,8,8,8)", "()", "lstm"])),
).map(lambda options: ",".join(f"{name}={value}" for name, value in options.items()))


def begun(words, monkeypatch, name):
    """Run a script up to its first step, which is made."""

    def first(run):
        run.monitor.begin(0)
        images, labels = next(iter(run.splits.train.epoch(0)))
        shards = engine.split(images, labels, run.devices)
        for update in run.task.updates(0):
            run.move(update, shards, 0)
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(engine.Run, "complete", first)
        patch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(ROOT / "train" / name), run_name="__main__")


@pytest.mark.parametrize(
    "name", ["mnist_train.py", pytest.param("cifar10_train.py", marks=pytest.mark.slow)]
)
def test_what_is_accepted_can_begin(fuzz, monkeypatch, capsys, tmp_path, name):
    flags = flags_of(settings_of(name))
    for flag in ("--data-dir", "--log-dir", "--num-gpus", "--batch-size", "-b", "--kvstore"):
        del flags[flag]
    for flag in ("--num-layers", "--shape", "--validation", "--glimpses", "--samples", "-m"):
        flags.pop(flag, None)  # large is slow, and that is no mistake
    flags["--options"] = OPTIONS
    fixed = [*SMALL[name].split(), "--num-gpus", "0", "--log-dir", str(tmp_path)]
    fixed += ["--data-dir", str(SAMPLE / DATA[name.partition("_")[0]]), "--log-interval", "1"]
    if name != "mnist_train.py":
        del flags["--options"]

    def check(words):
        with pytest.raises(SystemExit) as ended:
            begun([*words, *fixed], monkeypatch, name)
        told = capsys.readouterr().err.splitlines()
        assert ended.value.code in (0, 2), (words, told)
        assert len(told) == (ended.value.code == 2), (words, told)

    fuzz(2, lines(flags), check)


def test_a_sentence_is_one_line_whatever_is_in_it(capsys):
    def fail():
        Config.parse(["--lr", "a\nb\rc"])

    with pytest.raises(SystemExit) as ended:
        command(fail)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and len(told.splitlines()) == 1 and "a\\nb\\rc" in told
