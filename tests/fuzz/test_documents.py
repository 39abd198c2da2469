"""Documents of strangers beside weights: read, or refused in one line; 20,000 in the slow tier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

from gluon_attention import UserError
from gluon_attention.commands import _data
from gluon_attention.commands.description import Description, describe, read_description
from gluon_attention.commands.open_model import view_of
from gluon_attention.datasets.sampling import DATASETS
from gluon_attention.datasets.view import View
from gluon_attention.storage.document import DEEPEST, parse_json, read_json
from gluon_attention.zoo.pretrained import all_weights

import pytest
from hypothesis import strategies as st

MORE = 200  # times as many cases in the slow tier: 20,000 of all
NUMBERS = st.one_of(
    st.integers(-3, 300), st.sampled_from([0.5, 1e9, 10**400, float("nan"), -1e-9]), st.booleans()
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=5), st.sampled_from(["28", "mnist", "\ud800"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def objects(*keys: str, **values: Any) -> Any:
    """Objects with some of these keys: values of any kind, or those of a strategy."""
    strategies = {**{key: VALUES for key in keys}, **values}
    whole = st.fixed_dictionaries({}, optional=strategies)
    return st.one_of(whole, whole, whole, VALUES)


NORMALS = st.lists(st.floats(-2, 2), min_size=1, max_size=3)
VIEWS = objects("area", "jitter", "foo", size=NUMBERS, short=NUMBERS, mean=NORMALS, std=NORMALS)
OPTIONS = objects("seed", "validation", "task", "size", "cutout", "root", "radius", "return")
SOURCES = objects("foo", name=st.sampled_from(sorted(DATASETS)), options=OPTIONS)
DATA = objects("foo", view=VIEWS, source=SOURCES, classes=VALUES, mean=NORMALS, std=NORMALS)
DOCUMENTS = objects(
    "versions", network=objects("name", "classes", "options", "foo"), data=DATA, settings=VALUES
)
INDEX = objects("file", "sha256", "classes", "names", view=VIEWS, source=SOURCES)


def test_documents_describe_a_network_or_are_refused(
    fuzz: Callable[..., None], refused: Callable[..., bool], tmp_path: Path
) -> None:
    def check(document: Any) -> None:
        (tmp_path / "x.json").write_text(json.dumps(document))
        described = [Description()]
        if refused(lambda: described.append(read_description(str(tmp_path / "x.params")))):
            return
        description, views = described[-1], []
        if not refused(lambda: views.append(view_of("ram_28", description))):
            assert isinstance(views[0], View) and 1 <= views[0].size <= views[0].short <= 16384
        assert all(isinstance(name, str) for name in description.data.get("classes", ()))
        source = description.data.get("source", {})
        if source.get("name") in DATASETS:
            refused(lambda: _data._checked(source["name"], source.get("options", {})))

    fuzz(50, DOCUMENTS, check, MORE)


def test_an_index_of_weights_is_read_or_refused(
    fuzz: Callable[..., None], refused: Callable[..., bool], tmp_path: Path
) -> None:
    def check(document: Any) -> None:
        (tmp_path / "index.json").write_text(json.dumps(document))
        tables: Any = []
        if not refused(lambda: tables.append(all_weights(str(tmp_path)))):
            data = {key: tables[0]["ram_28"].get(key) for key in ("view", "source")}
            refused(lambda: describe("index.json", {"data": data}))

    fuzz(25, objects(ram_28=INDEX, other=INDEX), check, MORE)


def test_bytes_are_json_or_refused(fuzz: Callable[..., None], refused: Callable[..., bool]) -> None:
    tokens = st.sampled_from([b"[", b"{", b'"', b"]", b"}", b",", b":", b"1", b"e9", b"\xff", b"a"])
    content = st.lists(tokens, max_size=60).map(b"".join)
    fuzz(25, content, lambda b: refused(lambda: parse_json(b, "x.json")), MORE)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, "index.json: 'ram_28' must be an object"),
        ({}, "index.json: 'ram_28': file is missing"),
        (dict(file=5), "index.json: 'ram_28': file must be text"),
        (dict(file="x", sha256=1), "sha256 must be text"),
        (dict(file="x", sha256="0", classes="x"), "classes must be a whole number from 1 to"),
        (dict(file="../x", sha256="0", classes=2), "file must be a name in the same folder"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path: Path, entry: Any, message: str) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"ram_28": entry}))
    with pytest.raises(UserError, match=message):
        all_weights(str(tmp_path))
    (tmp_path / "index.json").write_text("[1]")
    with pytest.raises(UserError, match="index.json must be an object"):
        all_weights(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifar10", dict(foo=1), "cifar10 has no option 'foo'"),
        ("cifar10", dict(batch_size=3), "cifar10 has no option 'batch_size'"),
        ("cifar10", dict(download=True), "cifar10 has no option 'download'"),
        ("cifar10", dict(validation="x"), "cifar10, validation must be a whole number from 0"),
        ("mnist", dict(seed="x"), "mnist, seed must be a whole number from 0"),
        ("mnist", dict(task=28), "mnist, task must be text"),
        ("detail", dict(radius=0.5), "detail, radius must be numbers"),
    ],
)
def test_wrong_options_of_a_data_set_are_refused(name: str, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _data._checked(name, options)


@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")])
def test_a_document_is_nested_so_deep_and_no_deeper(begin: str, end: str) -> None:
    def parse(depth: int) -> Any:
        return parse_json(depth * begin + "3" + depth * end, "x.json")

    document = parse(DEEPEST)
    for _ in range(DEEPEST):
        (document,) = document.values() if isinstance(document, dict) else document
    assert document == 3
    for depth in (DEEPEST + 1, 100_000):
        with pytest.raises(UserError, match="x.json is nested more than 32 deep"):
            parse(depth)


def test_a_document_is_so_large_and_no_larger(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gluon_attention.storage.document.LARGEST", 1 << 20)
    (tmp_path / "x.json").write_text(f'"{"a" * ((1 << 20) - 2)}"')
    assert len(read_json(str(tmp_path / "x.json"))) == (1 << 20) - 2
    (tmp_path / "x.json").write_text(f'"{"a" * ((1 << 20) - 1)}"')
    with pytest.raises(UserError, match="x.json is larger than 1 MB"):
        read_json(str(tmp_path / "x.json"))


def test_a_device_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "x.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is no file"):
        read_json(str(tmp_path / "x.json"))
    assert read_description(str(tmp_path / "x.params")) == Description()
