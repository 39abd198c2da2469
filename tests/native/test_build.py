"""Where the library cannot be built, one line says so and nothing fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gluon_attention.native import build, loader

import pytest


def absent(*_: Any, **__: Any) -> None:
    return None


def one_line(capsys: Any) -> str:
    assert build.main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("native library: not built") and line.endswith("works without it")
    return line


def test_no_compiler(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(build.shutil, "which", absent)
    assert "no C++ compiler" in one_line(capsys)


def test_a_compiler_that_fails(monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    tools = build.Tools(["false"], [], "libdnnl.so.3")
    monkeypatch.setattr(build, "find_tools", lambda: tools)
    monkeypatch.setenv("GLUON_ATTENTION_NATIVE", str(tmp_path))
    assert "the compiler says" in one_line(capsys)
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64")])
def test_other_platforms(monkeypatch: Any, capsys: Any, system: str, machine: str) -> None:
    monkeypatch.setattr(build.sys, "platform", system)
    monkeypatch.setattr(build.platform, "machine", lambda: machine)
    assert "Linux on x86-64" in one_line(capsys)


def test_no_onednn(monkeypatch: Any, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(build.sysconfig, "get_paths", lambda: {"data": str(tmp_path)})
    assert "onednn-cpu-gomp" in one_line(capsys)


def test_a_library_of_other_sources_is_not_loaded(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("GLUON_ATTENTION_NATIVE", str(tmp_path))
    (tmp_path / loader.NAME).write_bytes(b"")
    mark = tmp_path / f"{loader.NAME}.stamp"
    mark.write_text("another\n")
    assert loader._path() == ""
    mark.write_text(f"{loader.stamp()} here\n")
    assert loader._path() == str(tmp_path / loader.NAME)
