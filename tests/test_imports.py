"""The rooms of the house: who imports whom, and how large a file and a function may be."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "gluon_attention"
SCRIPTS = ("train", "benchmarks", "tests", "data")
SHARED = ("cub_writer", "builders", "machine", "torch_writer")  # by all tests
FILES = sorted(path for room in (PACKAGE, *SCRIPTS) for path in (ROOT / room).rglob("*.py")) + [
    ROOT / "setup.py"
]

# The longest prefix of a module decides which modules of the package it may import, by prefix.
MAY_IMPORT = {
    "ops": ("ops", "errors"),
    "storage": ("storage", "errors"),
    "tasks": ("tasks", "ops", "errors"),
    "datasets": ("datasets", "errors", "storage.atomic"),
    "explain": ("explain", "ops", "errors", "storage.atomic"),
    "native": ("native", "errors"),
    "zoo": (
        *("zoo", "ops", "tasks", "fields", "errors", "storage", "explain", "native"),
        "datasets.sampling",
    ),
    "training": (
        *("training", "tasks", "datasets.sampling", "explain", "storage"),
        *("command_line", "fields", "runtime", "errors", "__version__"),
    ),
    "interop": ("interop", "zoo", "storage", "datasets", "errors"),
    "export": ("export", "zoo", "ops", "storage", "errors"),
    "command_line": ("errors",),
    "runtime": ("errors", "numpy_names"),
    "numpy_names": (),
    "fields": ("errors",),
    "errors": (),
}
# The same for what is imported from outside; the standard library is open to all.
PLAIN = ("mxnet", "numpy", "cv2")
OUTSIDE = {"ops": PLAIN, "datasets": PLAIN, "zoo.registry": PLAIN, "storage": PLAIN}
OUTSIDE.update(errors=(), command_line=())
OUTSIDE["datasets.stanford_dogs"] = (*PLAIN, "scipy")  # reads .mat files
OUTSIDE["datasets.pictures"] = (*PLAIN, "PIL")  # reads headers


def imports(tree: ast.AST, module: str, package: bool = False) -> Iterator[str]:
    """Absolute names of all modules that `module` imports, anywhere in it but for type checkers."""
    parents = module.split(".") if package else module.split(".")[:-1]
    for node in runtime_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            name = ".".join(base + ([node.module] if node.module else []))
            yield from (f"{name}.{alias.name}" for alias in node.names)


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but those under `if TYPE_CHECKING:`."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield from runtime_nodes(node)


def longest(module: str, prefixes: Sequence[str]) -> Optional[str]:
    """The longest of the dotted prefixes that `module` lies in."""
    found = [p for p in prefixes if f"{module}.".startswith(f"{p}.")]
    return max(found, key=len) if found else None


def strangers(tree: ast.AST, module: str, package: bool = False) -> List[str]:
    """Imports that a module of the package must not make; `module` is named without the package."""
    rule = longest(module, list(MAY_IMPORT))
    outside = longest(module, list(OUTSIDE))
    wrong = []
    for name in imports(tree, f"{PACKAGE}.{module}", package):
        top, _, inner = name.partition(".")
        if top == PACKAGE:
            fine = rule is None or longest(inner, MAY_IMPORT[rule]) is not None
        else:
            fine = outside is None or top in OUTSIDE[outside] or is_standard(top)
        if not fine:
            wrong.append(name)
    return wrong


def is_standard(top: str) -> bool:
    """Whether a top-level module comes with Python."""
    if hasattr(sys, "stdlib_module_names"):
        return top in sys.stdlib_module_names
    return top not in {p.name for p in Path(pytest.__file__).parent.parent.iterdir()}


def siblings(tree: ast.AST, path: Path) -> List[str]:
    """Imports of a script from its own folder or another folder of scripts."""
    near = {p.stem for p in path.parent.glob("*.py")} - set(SHARED) | set(SCRIPTS)
    found = {name.lstrip(".").split(".")[0] for name in imports(tree, path.stem)}
    return sorted(found & near)


def functions(tree: ast.AST) -> Iterator[Tuple[str, int]]:
    """Every function and its number of lines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


def parse(path: Path) -> ast.AST:
    """The file as Python 3.8 reads it: newer syntax is an error."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path: Path) -> None:
    tree = parse(path)
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{lines} lines"
    assert [name for name, length in functions(tree) if length > 60] == []
    assert "util" not in path.stem, "a name that says nothing"
    place = path.relative_to(ROOT).with_suffix("").parts
    if place[0] == PACKAGE:
        package = place[-1] == "__init__"
        module = ".".join(place[1:-1] if package else place[1:])
        assert strangers(tree, module, package) == []
        annotated = any(getattr(node, "annotation", None) for node in ast.walk(tree))
        assert not annotated or "from __future__ import annotations" in path.read_text()
    elif place[0] in SCRIPTS and place[:2] not in (("benchmarks", "peers"), ("tests", "reference")):
        # These are programs of several files that run under an interpreter without the package.
        assert siblings(tree, path) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("training.engine", "from ..zoo import get_model"),
        ("training.engine", "def f():\n    from gluon_attention.zoo.registry import entry"),
        ("zoo.glimpse.network", "from ...training import engine"),
        ("zoo.glimpse.network", "from ...commands._data import load"),
        ("tasks.task", "from ..zoo.registry import entry"),
        ("ops.crop", "import scipy.ndimage"),
        ("ops.crop", "from ..zoo.base import AttentionNet"),
        ("datasets.cifar", "from ..tasks.task import Task"),
        ("errors", "import mxnet"),
    ],
)
def test_a_stranger_is_seen(module: str, source: str) -> None:
    assert len(strangers(ast.parse(source), module)) == 1


def test_a_neighbour_is_no_stranger() -> None:
    source = "import os, mxnet as mx\nfrom ...ops.crop import crop\nfrom ...tasks.task import Task"
    assert strangers(ast.parse(source), "zoo.glimpse.network") == []


def test_a_sibling_is_seen() -> None:
    tree = ast.parse("import conftest\nfrom train import cifar10_train\nimport gluon_attention")
    assert siblings(tree, Path(__file__)) == ["conftest", "train"]


def test_preparation_comes_first() -> None:
    tree = parse(ROOT / PACKAGE / "__init__.py")
    first = ast.parse("from . import runtime\nruntime.prepare()").body
    assert [ast.dump(node) for node in tree.body[1:3]] == [ast.dump(node) for node in first]
