"""`gluon-attention` as a whole: list, info, --help, mistakes and the ways a program ends."""

from __future__ import annotations

import json
import subprocess
import sys

from gluon_attention import list_models
from gluon_attention.command_line import command
from gluon_attention.commands.train import DATASETS

import pytest


def test_flags_are_read_without_mxnet():
    """Importing it takes two seconds, which nobody waits for who asks for --help."""
    answers = [["--help"], ["list"], ["list", "-l"], ["info", "ram_28"]]
    lines = [*answers, ["lst"], ["info", "rma_28"], ["launch"], ["export", "ram_28"]]
    lines += [[verb, "--no-such-flag"] for verb in ("predict", "evaluate", "explain", "convert")]
    lines += [["train", name, "--lr=x"] for name in DATASETS]
    code = f"""
import sys
from gluon_attention.__main__ import main
for words in {lines}:
    try:
        main(words)
    except SystemExit as end:
        loaded = "mxnet" in sys.modules
        assert not loaded and end.code == (0 if words in {answers} else 2), words
    else:
        raise AssertionError(words)
"""
    process = subprocess.run([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True)
    assert process.returncode == 0, process.stderr
    assert len(process.stderr.splitlines()) == len(lines) - len(answers), process.stderr


def test_list_is_sorted_and_filtered(shell):
    status, out, _ = shell("list", "ram_*")
    assert status == 0 and out == list_models("ram_*") and out
    assert json.loads("".join(shell("list", "ram_*", "--json")[1])) == out


def test_a_long_list_counts_parameters(shell):
    _, out, _ = shell("list", "cifar_residual_attention56_slim", "-l")
    assert len(out) == 2 and "1,03" in out[1] and "3x32x32" in out[1]


def test_info_names_the_options(shell):
    entry = json.loads("".join(shell("info", "RAM_28", "--json")[1]))
    assert entry["name"] == "ram_28" and entry["options"]["glimpses"] == 6
    assert any("glimpses=6" in line for line in shell("info", "ram_28")[1])


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("info", "rma_28"), "did you mean 'ram_28'"),
        (("lst",), "invalid choice: 'lst'"),
        ((), "VERB"),
        (("list", "--jsn"), "unknown flag --jsn; did you mean --json?"),
        (("predict", "ram_28", "x.png", "--tpo", "3"), "did you mean --top?"),
        (("evaluate", "ram_28", "--data-dri=x"), "did you mean --data-dir?"),
        (("info", "ram_28", "more"), "unrecognized arguments: more"),
    ],
)
def test_mistakes_are_one_line_and_status_2(shell, words, sentence):
    status, out, err = shell(*words)
    assert status == 2 and not out and len(err) == 1 and sentence in err[0]


def test_an_interrupted_verb_has_status_130(shell, monkeypatch):
    def stop(*words, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("gluon_attention.commands.list.list_models", stop)
    assert shell("list") == (130, [], ["interrupted"])


DEFAULTS = {
    "list": (),
    "info": (),
    "predict": ("default: 5", "default: one episode", "default: 16"),
    "evaluate": ("default: test", "the run, or 64", "the run, or 10"),
    "explain": (),
    "export": ("default: 64",),
    "convert": (),
    "train": ("cifar10, mnist, imagenet, cub200, dogs",),
    "launch": ("default: 2", "default: 1"),
}


@pytest.mark.parametrize("verb", DEFAULTS)
def test_help_describes_shows_examples_and_defaults(shell, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = shell(verb, "--help")
    usage, description = "\n".join(out).split("\n\n")[:2]
    assert status == 0 and usage.startswith("usage: ")
    assert description[0].isupper() and description[-1] == "."
    assert all(len(line) < 80 for line in description.splitlines())
    at = next(number for number, line in enumerate(out) if line in ("example:", "examples:"))
    assert (len(out) - at > 2) == (out[at] == "examples:")
    assert all(line.startswith(f"  gluon-attention {verb} ") for line in out[at + 1 :])
    text = " ".join(" ".join(out).split())
    assert [words for words in DEFAULTS[verb] if words not in text] == []


def test_the_module_runs():
    process = subprocess.run(
        [sys.executable, "-m", "gluon_attention", "list", "ram_28"], capture_output=True, text=True
    )
    assert process.returncode == 0 and process.stdout == "ram_28\n"


def test_file_names_of_invalid_unicode_are_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        command(lambda: print("caf\udce9.png"))  # what Linux makes of Latin 1
    assert stopped.value.code == 0 and capsys.readouterr().out == "caf\\udce9.png\n"


def test_a_closed_standard_output_is_no_mistake(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of >&-
    with pytest.raises(SystemExit) as stopped:
        command(lambda: print("to nobody"))
    assert stopped.value.code == 0


FULL = "error: cannot write standard output: No space left on device"


@pytest.mark.parametrize("words", ["list", "list --json", "info ram_28", "list ram_28 -l", "-h"])
def test_output_to_a_full_disk_is_one_line(shell, monkeypatch, words):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        status, _, err = shell(*words.split())
    assert status == 2 and len(err) == 1 and err[0].startswith(FULL)


def test_a_large_output_to_a_full_disk_is_one_line_too(monkeypatch, capsys):
    with open("/dev/full", "w") as full, pytest.raises(SystemExit) as stopped:
        monkeypatch.setattr(sys, "stdout", full)
        command(lambda: print("x" * 9**6))  # more than Python keeps until the end
    assert stopped.value.code == 2 and capsys.readouterr().err.startswith(FULL)


def test_a_closed_pipe_ends_quietly():
    command = [sys.executable, "-m", "gluon_attention", "list"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
