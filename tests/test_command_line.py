"""`gluon-attention`, as a person or a script calls it."""

from __future__ import annotations

import json
import subprocess
import sys

from gluon_attention import list_models
from gluon_attention.__main__ import main

import pytest


def call(capsys, *words):
    """Exit status, lines of output and of errors."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    shown = capsys.readouterr()
    return stopped.value.code, shown.out.splitlines(), shown.err.splitlines()


def test_list_is_sorted_and_filtered(capsys):
    status, out, _ = call(capsys, "list", "ram_*")
    assert status == 0 and out == list_models("ram_*") and out
    assert json.loads("".join(call(capsys, "list", "ram_*", "--json")[1])) == out


def test_a_long_list_counts_parameters(capsys):
    _, out, _ = call(capsys, "list", "cifar_residual_attention56_slim", "-l")
    assert len(out) == 2 and "1,03" in out[1] and "3x32x32" in out[1]


def test_info_names_the_options(capsys):
    found = json.loads("".join(call(capsys, "info", "RAM_28", "--json")[1]))
    assert found["name"] == "ram_28" and found["options"]["glimpses"] == 6
    assert any("glimpses=6" in line for line in call(capsys, "info", "ram_28")[1])


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("info", "rma_28"), "did you mean 'ram_28'"),
        (("lst",), "invalid choice: 'lst'"),
        ((), "VERB"),
        (("list", "--jsn"), "--jsn"),
    ],
)
def test_mistakes_are_one_line_and_status_2(capsys, words, sentence):
    status, out, err = call(capsys, *words)
    assert status == 2 and not out and len(err) == 1 and sentence in err[0]


def test_the_module_runs():
    shown = subprocess.run(
        [sys.executable, "-m", "gluon_attention", "list", "ram_28"], capture_output=True, text=True
    )
    assert shown.returncode == 0 and shown.stdout == "ram_28\n"
