"""Who may import whom, and how long files and functions may be."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "gluon_attention"
SCRIPTS = ("train", "benchmarks", "tests", "data")
# Modules that any test may import.
SHARED = ("builders", "cub_writer", "foreign_states", "fuzzing", "machine", "machines")
SHARED += ("torch_writer",)
PROGRAMS = (("benchmarks", "peers"), ("tests", "reference"))  # run without the package
FILES = sorted(path for room in (PACKAGE, *SCRIPTS) for path in (ROOT / room).rglob("*.py")) + [
    ROOT / "setup.py"
]
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60

# Modules and folders of the package that a module or folder may import. A folder that is missing,
# such as commands, may import all.
MAY_IMPORT = {
    "ops": ("ops", "errors"),
    "storage": ("storage", "errors"),
    "tasks": ("tasks", "ops", "fields", "errors"),
    "datasets": ("datasets", "errors", "storage.atomic"),
    "explain": ("explain", "ops", "errors", "storage.atomic"),
    "native": ("native", "errors", "installation"),
    "zoo": (
        *("zoo", "ops", "tasks", "fields", "errors", "storage", "explain", "native"),
        "datasets.sampling",
    ),
    "training": (
        *("training", "tasks", "datasets.sampling", "explain", "storage"),
        *("command_line", "fields", "runtime", "errors", "__version__", "native"),
        "installation",
    ),
    "interop": ("interop", "zoo", "storage", "errors", "installation"),
    "export": (
        "export",
        "zoo",
        "ops",
        "storage",
        "errors",
        "interop.torch_process",
        "installation",
    ),
    "command_line": ("errors",),
    "runtime": ("errors", "installation", "numpy_names"),
    "installation": (),
    "numpy_names": (),
    "fields": ("errors",),
    "errors": (),
}
# The same for other packages; the standard library is open to all.
PLAIN = ("mxnet", "numpy", "cv2")
OUTSIDE = {"ops": PLAIN, "datasets": PLAIN, "storage": PLAIN}
OUTSIDE.update(dict.fromkeys(("errors", "command_line", "fields", "zoo.registry"), ()))
OUTSIDE.update({f"zoo.{path.parent.name}.options": () for path in FILES if path.stem == "options"})
OUTSIDE["storage.safetensors_file"] = (*PLAIN, "safetensors")
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
    """The longest of the dotted prefixes that contain `module`."""
    matches = [p for p in prefixes if f"{module}.".startswith(f"{p}.")]
    return max(matches, key=len, default=None)


def forbidden(tree: ast.AST, module: str, package: bool = False) -> List[str]:
    """Imports that a module of the package must not make; `module` is named without the package."""
    inside, outside = longest(module, list(MAY_IMPORT)), longest(module, list(OUTSIDE))
    names = []
    for name in imports(tree, f"{PACKAGE}.{module}", package):
        top, _, inner = name.partition(".")
        if top == PACKAGE:
            allowed = inside is None or longest(inner, MAY_IMPORT[inside]) is not None
        else:
            allowed = outside is None or top in OUTSIDE[outside] or is_standard(top)
        if not allowed:
            names.append(name)
    return names


def is_standard(top: str) -> bool:
    """Whether a top-level module comes with Python."""
    if hasattr(sys, "stdlib_module_names"):
        return top in sys.stdlib_module_names
    return top not in {p.name for p in Path(pytest.__file__).parent.parent.iterdir()}


def siblings(tree: ast.AST, path: Path) -> List[str]:
    """Scripts that a script imports; only tests share modules."""
    scripts = {p.stem for p in path.parent.glob("*.py")} - set(SHARED) | set(SCRIPTS)
    imported = {name.lstrip(".").split(".")[0] for name in imports(tree, path.stem)}
    return sorted(imported & scripts)


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
    assert lines <= MOST_LINES, f"{lines} lines"
    assert [name for name, length in functions(tree) if length > MOST_LINES_OF_A_FUNCTION] == []
    assert "util" not in path.stem, "a name without meaning"
    place = path.relative_to(ROOT).with_suffix("").parts
    if place[0] == PACKAGE:
        package = place[-1] == "__init__"
        module = ".".join(place[1:-1] if package else place[1:])
        assert forbidden(tree, module, package) == []
        annotated = any(getattr(node, "annotation", None) for node in ast.walk(tree))
        assert not annotated or "from __future__ import annotations" in path.read_text()
    elif place[0] in SCRIPTS and place[:2] not in PROGRAMS:
        assert siblings(tree, path) == []


def import_graph(sources: Dict[str, ast.AST]) -> Dict[str, Set[str]]:
    """The modules of the package that each module imports; packages end in `.__init__`."""
    packages = {name[: -len(".__init__")] for name in sources if name.endswith(".__init__")}
    graph: Dict[str, Set[str]] = {}
    for module, tree in sources.items():
        package = module.endswith(".__init__")
        name = module[: -len(".__init__")] if package else module
        graph[module] = set()
        for imported in imports(tree, name, package):
            target = longest(imported, list({*sources, *packages}))
            if target:
                graph[module].add(f"{target}.__init__" if target in packages else target)
    return graph


def circles(graph: Dict[str, Set[str]]) -> List[str]:
    """Modules that import themselves by way of others."""

    def reachable(start: str) -> Set[str]:
        modules, stack = set(), [start]
        while stack:
            new = graph[stack.pop()] - modules
            modules |= new
            stack += new
        return modules

    return sorted(module for module in graph if module in reachable(module))


def test_no_module_of_the_package_imports_itself() -> None:
    sources = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): parse(path)
        for path in FILES
        if path.relative_to(ROOT).parts[0] == PACKAGE
    }
    graph = import_graph(sources)
    assert sum(map(len, graph.values())) > 200
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    sources = {
        "p.__init__": "from .a import x",
        "p.a": "from . import b\nfrom .c import z",
        "p.b": "def f():\n    from .a import y",
        "p.c": "import os",
    }
    graph = import_graph({name: ast.parse(text) for name, text in sources.items()})
    assert graph["p.__init__"] == {"p.a"} and graph["p.a"] == {"p.b", "p.c"}
    assert circles(graph) == ["p.a", "p.b"]


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
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(forbidden(ast.parse(source), module)) == 1


def test_an_allowed_import_is_accepted() -> None:
    source = "import os, mxnet as mx\nfrom ...ops.crop import crop\nfrom ...tasks.task import Task"
    assert forbidden(ast.parse(source), "zoo.glimpse.network") == []


def test_a_script_that_imports_another_is_found() -> None:
    tree = ast.parse("import conftest\nfrom train import cifar10_train\nimport gluon_attention")
    assert siblings(tree, Path(__file__)) == ["conftest", "train"]
