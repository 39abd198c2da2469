"""Pictures that verbs read and draw: where they come from, and that none is overwritten."""

from __future__ import annotations

import io
import os
import weakref
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError
from gluon_attention.commands import explain, predict
from gluon_attention.commands._pictures import in_batches, picture_paths, read_picture
from gluon_attention.commands.explain import unique_stems
from gluon_attention.datasets import pictures

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


def watch_pictures(monkeypatch: Any, module: Any) -> List[Any]:
    """Weak references to all pictures read; none is read while another is in memory."""
    references: List[Any] = []

    def watched(path: str) -> np.ndarray:
        assert not any(reference() is not None for reference in references)
        picture = read_picture(path)
        references.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(module, "read_picture", watched)
    return references


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
def test_explain_does_not_overwrite_its_inputs(shell: Any, folder: Path, words: Any) -> None:
    (folder / "link.png").symlink_to(folder / "digits" / "a.png")
    before = contents(folder)
    words = [word.format(here=folder.name) for word in words]
    status, out, err = shell("explain", "ram_28", *words)
    assert status == 2 and not out and len(err) == 1 and "choose another -o" in err[0]
    assert contents(folder) == before


def test_pictures_of_equal_names_get_numbered_files(shell: Any, folder: Path) -> None:
    status, out, _ = shell("explain", "ram_28", "digits", "-o", "looks")
    assert status == 0 and [Path(line).name for line in out] == ["a-2.png", "a.png", "a-3.png"]
    assert len(list((folder / "looks").iterdir())) == 3
    assert unique_stems(["a.png", "b/a.png", "a-2.png", "-"]) == ["a", "a-2", "a-2-2", "stdin"]


def test_explain_holds_one_decoded_picture(shell: Any, folder: Path, monkeypatch: Any) -> None:
    words = ("explain", "ram_28", "digits", "-o")
    assert shell(*words, "whole.png")[0] == 0 and shell(*words, "whole.gif")[0] == 0
    references = watch_pictures(monkeypatch, explain)
    monkeypatch.setattr(explain, "BATCH", 2)
    assert shell(*words, "parts.png")[0] == 0 and shell(*words, "parts.gif")[0] == 0
    assert len(references) == 6
    for ending in ("png", "gif"):
        with Image.open(f"whole.{ending}") as whole, Image.open(f"parts.{ending}") as parts:
            assert getattr(whole, "n_frames", 1) == getattr(parts, "n_frames", 1)
            pixels = [np.asarray(image.convert("RGB"), float) for image in (whole, parts)]
        assert pixels[0].shape == pixels[1].shape
        assert np.abs(pixels[0] - pixels[1]).mean() < 1


def test_predict_holds_one_decoded_picture(shell: Any, folder: Path, monkeypatch: Any) -> None:
    references = watch_pictures(monkeypatch, predict)
    assert shell("predict", "ram_28", "digits", "-b", 2)[0] == 0 and len(references) == 3


def test_a_picture_without_end_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 1 << 20)
    with pytest.raises(UserError, match="/dev/zero is larger than 1 MB"):
        read_picture("/dev/zero")


def test_folders_give_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "album.png").mkdir()
    (tmp_path / "album.png" / "a.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    assert list(picture_paths([str(tmp_path)])) == [str(tmp_path / "album.png" / "a.png")]


def test_closed_standard_input_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        list(picture_paths(["-"]))


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_batches_hold_every_picture_once(count: int) -> None:
    batches = list(in_batches(iter(range(count)), 2))
    assert sum(batches, []) == list(range(count)) and all(len(b) == 2 for b in batches[:-1])


def test_control_characters_of_names_are_escaped(shell: Any, folder: Path) -> None:
    name = "\x1b[31mred\n.png"
    (folder / "d.png").rename(folder / name)
    (line,) = shell("predict", "ram_28", name)[1]
    assert line.startswith("\\x1b[31mred\\n.png: ")
    _, _, (message,) = shell("predict", "ram_28", f"no {name}")
    assert "\\x1b[31mred" in message and "\x1b" not in message


def test_an_output_folder_may_look_like_a_file(shell: Any, folder: Path) -> None:
    (folder / "out.v2").mkdir()
    assert shell("explain", "ram_28", "d.png", "-o", "out.v2")[1] == ["out.v2/d.png"]


def pipe(monkeypatch: Any, content: bytes) -> None:
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr("sys.stdin", stream)


def test_standard_input_is_a_picture_or_paths(shell: Any, folder: Path, monkeypatch: Any) -> None:
    for name in ("d.png", "digits/a.bmp"):
        pipe(monkeypatch, (folder / name).read_bytes())
        assert shell("predict", "ram_28", "-")[1][0].startswith("-: ")
    pipe(monkeypatch, b"BMW.png\n")
    assert shell("predict", "ram_28", "-")[1][0].startswith("BMW.png: ")


@pytest.mark.parametrize("content", [b"II*\0\x08\0\0\0", b"\xfe\xff", b"RIFF\0\0\0\0WAVE"])
def test_standard_input_of_another_kind_is_refused(
    shell: Any, folder: Path, monkeypatch: Any, content: bytes
) -> None:
    pipe(monkeypatch, content)
    status, out, err = shell("predict", "ram_28", "-")
    assert status == 2 and not out and len(err) == 1
    assert "standard input is neither a picture nor a list of paths" in err[0]
