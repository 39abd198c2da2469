"""What pip installs: a wheel holds the whole package, an sdist the whole repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, List, Set

import gluon_attention
from gluon_attention import installation

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> List[str]:
    """Files of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return [name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def run_setup(folder: Path, *words: str) -> None:
    """Run setup.py in a copy of the repository: setuptools writes beside it."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def files(folder: Path) -> Set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    run_setup(tmp_path / "copy", "build_py", "--build-lib", str(tmp_path / "library"))
    package = {name for name in tracked() if name.startswith("gluon_attention/")}
    assert files(tmp_path / "library") == package


@pytest.mark.slow
def test_an_sdist_holds_every_file_of_the_repository(tmp_path: Path) -> None:
    run_setup(tmp_path / "copy", "sdist", "-d", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    assert archive.name == f"gluon_attention-{gluon_attention.__version__}.tar.gz"
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert set(tracked()) - names == set()


def test_the_version_is_everywhere_the_same() -> None:
    for name in ("CITATION.cff", "README.md", "CHANGELOG.md", "docs/native.md"):
        assert gluon_attention.__version__ in (ROOT / name).read_text(encoding="utf-8"), name


@pytest.fixture
def wheel(monkeypatch: Any) -> None:
    monkeypatch.setattr(installation, "_is_checkout", lambda: False)


def test_advice_for_a_checkout_names_its_folder() -> None:
    assert installation.pip_install("cu112") == f"pip install -e '{ROOT}[cu112]'"
    assert installation.build_native() == f"make -C {ROOT} native"


def test_advice_for_a_wheel_needs_no_checkout(wheel: None) -> None:
    assert installation.pip_install("onnx").endswith("-py3-none-any.whl[onnx]'")
    assert "gluon_attention.native.build" in installation.build_native()


@pytest.mark.parametrize(
    ("version", "command"),
    [((3, 12), "pip install mxnet==1.9.1"), ((3, 13), "pip install --no-deps mxnet==1.9.1")],
)
def test_mxnet_is_installed_without_its_numpy_where_there_is_none(
    monkeypatch: Any, version: Any, command: str
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert installation.pip_install_mxnet("mxnet") == command
