"""Pictures that verbs read and write: none that is read is written over."""

from __future__ import annotations

import io
import weakref
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError
from gluon_attention.commands import explain
from gluon_attention.commands._pictures import batches, named, read
from gluon_attention.commands.explain import stems

import cv2
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: Any) -> Path:
    """The working directory, with pictures of several endings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for name in ("digits/a.png", "digits/a.bmp", "digits/a-2.png", "d.png", "BMW.png"):
        cv2.imwrite(str(tmp_path / name), np.full((28, 28), len(name), np.uint8))
    return tmp_path


def contents(folder: Path) -> Dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ("digits", "-o", "digits"),
        ("d.png", "-o", "d.png"),
        ("d.png", "-o", "."),
        ("BMW.png", "digits/a.bmp", "digits/../d.png", "-o", "../{here}"),
        ("link.png", "-o", "digits/a.png"),
    ],
    ids=" ".join,
)
def test_what_is_read_is_not_written_over(shell: Any, folder: Path, words: Any) -> None:
    (folder / "link.png").symlink_to(folder / "digits" / "a.png")
    before = contents(folder)
    words = [word.format(here=folder.name) for word in words]
    status, out, err = shell("explain", "ram_28", *words)
    assert status == 2 and not out and len(err) == 1 and "choose another -o" in err[0]
    assert contents(folder) == before


def test_every_picture_gets_a_file_of_its_own(shell: Any, folder: Path) -> None:
    status, out, _ = shell("explain", "ram_28", "digits", "-o", "looks")
    assert status == 0 and [Path(line).name for line in out] == ["a-2.png", "a.png", "a-3.png"]
    assert len(list((folder / "looks").iterdir())) == 3
    assert stems(["a.png", "b/a.png", "a-2.png", "-"]) == ["a", "a-2", "a-2-2", "stdin"]


def test_pictures_are_drawn_a_few_at_a_time(shell: Any, folder: Path, monkeypatch: Any) -> None:
    words = ("explain", "ram_28", "digits", "-o")
    assert shell(*words, "whole.png")[0] == 0 and shell(*words, "whole.gif")[0] == 0
    held: List[Any] = []

    def watched(path: str) -> np.ndarray:
        assert not any(reference() is not None for reference in held)
        picture = read(path)
        held.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(explain, "read", watched)
    monkeypatch.setattr(explain, "BATCH", 2)
    assert shell(*words, "parts.png")[0] == 0 and shell(*words, "parts.gif")[0] == 0
    assert len(held) == 6
    for ending in ("png", "gif"):
        with Image.open(f"whole.{ending}") as whole, Image.open(f"parts.{ending}") as parts:
            assert getattr(whole, "n_frames", 1) == getattr(parts, "n_frames", 1)
            pixels = [np.asarray(drawn.convert("RGB"), float) for drawn in (whole, parts)]
        assert pixels[0].shape == pixels[1].shape
        assert np.abs(pixels[0] - pixels[1]).mean() < 1


def test_a_folder_named_as_a_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "album.png").mkdir()
    (tmp_path / "album.png" / "a.png").touch()
    assert list(named([str(tmp_path)])) == [str(tmp_path / "album.png" / "a.png")]


def test_nothing_is_read_from_a_closed_input(monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        list(named(["-"]))


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_batches_hold_every_picture_once(count: int) -> None:
    found = list(batches(iter(range(count)), 2))
    assert sum(found, []) == list(range(count)) and all(len(b) == 2 for b in found[:-1])


def test_a_folder_may_have_any_name(shell: Any, folder: Path) -> None:
    (folder / "out.v2").mkdir()
    assert shell("explain", "ram_28", "d.png", "-o", "out.v2")[1] == ["out.v2/d.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("d.png -o x.png --gif", "--gif makes no .png"),
        ("d.png -o x.png --channel 99", "--channel is for networks with masks"),
    ],
)
def test_flags_without_use(shell: Any, folder: Path, words: str, sentence: str) -> None:
    status, out, err = shell("explain", "ram_28", *words.split())
    assert status == 2 and not out and len(err) == 1 and sentence in err[0]


def piped(monkeypatch: Any, content: bytes) -> None:
    pipe = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr("sys.stdin", pipe)


def test_pipes_of_pictures_and_of_paths(shell: Any, folder: Path, monkeypatch: Any) -> None:
    for name in ("d.png", "digits/a.bmp"):
        piped(monkeypatch, (folder / name).read_bytes())
        assert shell("predict", "ram_28", "-")[1][0].startswith("-: ")
    piped(monkeypatch, b"BMW.png\n")
    assert shell("predict", "ram_28", "-")[1][0].startswith("BMW.png: ")


@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0", b"\xfe\xff", b"RIFF\0\0\0\0WAVE"])
def test_pipes_of_other_things(shell: Any, folder: Path, monkeypatch: Any, content: bytes) -> None:
    piped(monkeypatch, content)
    status, out, err = shell("predict", "ram_28", "-")
    assert status == 2 and not out and len(err) == 1
    assert "standard input is neither a picture nor a list of paths" in err[0]
