"""Verbs and scripts beside those that train, with random words: status 0, or 2 and one line."""

from __future__ import annotations

import io
import os
import runpy
import sys
from pathlib import Path

from gluon_attention import __main__ as command_line

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = st.one_of(
    st.integers(-2, 40).map(str),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["nan", "1e999", "10" * 200, "1,2,3", "0.5", "\u0663", "1,1,0"]),
)
WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=8),  # NUL ends an argument
    st.sampled_from(["", "-", "a\nb", "\udcff", "x" * 3000, "..", "a.png"]),
)
BOTH = NUMBERS | WORDS
MODELS = ["ram_28"] * 8 + ["broken.params", "nowhere", "racnn", "ram_cluttered_60"]
MODEL = st.sampled_from(MODELS) | st.sampled_from(MODELS) | WORDS
PICTURES = st.sampled_from(["a.png"] * 5 + ["broken.jpg", "wide.png", "empty", "."]) | WORDS
NETWORK = {"--classes": NUMBERS, "--options": BOTH, "--size": NUMBERS, "--mean": NUMBERS}
NETWORK.update(
    {"--model": MODEL, "--std": NUMBERS, "--class-names": PICTURES, "--num-gpus": NUMBERS}
)

VERBS = {  # positional words, and values by flag
    "predict": ([MODEL, PICTURES], {**NETWORK, "--top": NUMBERS, "-b": NUMBERS, "--bogus": BOTH}),
    "explain": ([MODEL, PICTURES], {**NETWORK, "-o": WORDS, "--channel": NUMBERS}),
    "evaluate": ([MODEL], {**NETWORK, "--split": WORDS, "-b": NUMBERS, "--data-dir": PICTURES}),
    "export": ([MODEL], {**NETWORK, "-o": WORDS, "--images": NUMBERS}),
    "convert": ([PICTURES | MODEL, MODEL], {"-o": WORDS, "--classes": NUMBERS}),
}
SCRIPTS = {
    "data/prepare_imagenet.py": {
        "--from": WORDS,
        "--data-dir": WORDS,
        "--resize": NUMBERS,
        "--quality": NUMBERS,
        "--workers": NUMBERS,
    },
    "benchmarks/speed.py": {
        "--cases": WORDS,
        "--modes": WORDS,
        "--batches": NUMBERS,
        "--rounds": NUMBERS,
        "--seconds": NUMBERS,
    },
    "benchmarks/scaling.py": {"--batch": NUMBERS, "--networks": WORDS},
    "benchmarks/results.py": {"--csv": WORDS, "--readme": WORDS},
}


def command_lines(first, flags):
    """Command lines: positional words, then up to two flags with values."""
    pairs = [st.tuples(st.just(flag), values) for flag, values in sorted(flags.items())]
    rest = st.lists(st.one_of(pairs), max_size=2).map(
        lambda pairs: [word for pair in pairs for word in pair]
    )
    return st.tuples(st.tuples(*first).map(list), rest).map(lambda parts: parts[0] + parts[1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: pictures, and folders around them for stray output."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    cv2.imwrite(str(inner / "a.png"), np.full((28, 28), 200, np.uint8))
    cv2.imwrite(str(inner / "wide.png"), np.zeros((1, 20_000), np.uint8))
    (inner / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (inner / "broken.params").write_bytes(b"\x12\x01")
    (inner / "empty").mkdir()
    monkeypatch.chdir(inner)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b""))))
    return inner


def refuse(*words, **named):
    raise OSError("no network here")


def check_end(capsys, call, words):
    """Status 0, or 2 and one line; no half-written file is left."""
    before = Path.cwd()
    with pytest.raises(SystemExit) as ended:
        call()
    messages = capsys.readouterr().err.splitlines()
    assert ended.value.code in (0, None, 2), (words, ended.value.code, messages)
    assert ended.value.code != 2 or len(messages) == 1, (words, messages)
    assert Path.cwd() == before and not list(before.parent.rglob(".aside-*")), words


@pytest.mark.parametrize("verb", VERBS)
def test_verbs(fuzz, folder, capsys, verb):
    first, flags = VERBS[verb]

    def check(words):
        words = [verb, *(word for word in words if not os.path.isabs(word))]
        check_end(capsys, lambda: command_line.main(words), words)

    fuzz(2, command_lines(first, flags), check)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(fuzz, folder, capsys, monkeypatch, script):
    path = ROOT / script
    monkeypatch.syspath_prepend(str(path.parent))
    always = ["--bogus"] if script.startswith("benchmarks") else []  # or they would measure

    def check(words):
        words = [*(word for word in words if not os.path.isabs(word)), *always]
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        check_end(capsys, lambda: runpy.run_path(str(path), run_name="__main__"), words)

    fuzz(2, command_lines([], SCRIPTS[script]), check)
