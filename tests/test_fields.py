"""Fields of dataclasses: text, Python values and JSON become their values, or are refused."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from gluon_attention import UserError
from gluon_attention.fields import (
    REQUIRED,
    Declared,
    add_flag,
    check_document,
    declared,
    field,
    number,
    replace,
)

import pytest


@dataclass(frozen=True)
class Options:
    count: int = field(3, "count, 100 % of it", "--amount", low=1, high=10)
    share: Optional[float] = field(None, "share", low=0, high=1)
    sides: Tuple[int, ...] = field((4,), "sides", low=2)
    switch: bool = field(False, "switch")
    kind: str = field("a", "kind", choices=("a", "b"))
    some_name: str = field("x", "name")
    notes: str = field("", "notes", any_text=True)
    free: float = field(0.0, "any number")


FIELDS: Dict[str, Declared] = {each.name: each for each in declared(Options)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *(("count", "1", 1), ("count", "10", 10), ("share", "0", 0.0), ("share", "1", 1.0)),
        *(("sides", " 2, 3 ,", (2, 3)), ("sides", "", ()), ("sides", "1000000000", (10**9,))),
        *(("switch", word, True) for word in ("1", "true", "YES", "on")),
        *(("switch", word, False) for word in ("0", "False", "no", "OFF")),
        *(("kind", "b", "b"), ("free", "-1e9", -1e9)),
    ],
)
def test_text_becomes_a_value(name: str, text: str, value: Any) -> None:
    parsed = FIELDS[name].parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "0", "'0' is not a whole number from 1 to 10"),
        ("count", "11", "from 1 to 10"),
        ("count", "2.0", "a whole number"),
        ("share", "nan", "'nan' is not a number from 0 to 1"),
        ("sides", "2,1", "'1' is not a whole number from 2 to 1000000000"),
        ("free", "1.1e9", "is not a number"),
        ("free", "-inf", "is not a number"),
        ("switch", "maybe", "'maybe' is not 0 or 1"),
        ("kind", "c", "'c' is not one of a, b"),
        ("some_name", "a\nb", r"'a\\nb' is not text"),
        ("count", "x" * 61, "'" + "x" * 57 + r"\.\.\.' is not"),
    ],
)
def test_other_text_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        FIELDS[name].parse(text)


def test_a_number_for_argparse_has_bounds() -> None:
    assert number(int, 1, 3)("3") == 3 and number(float, low=0)("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="a whole number from 1 to 3"):
        number(int, 1, 3)("4")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (dict(count=2.0), dict(count=2)),
        (dict(share=None), dict(share=None)),
        (dict(share=1), dict(share=1.0)),
        (dict(sides=[2, 3]), dict(sides=(2, 3))),
        (dict(switch=1), dict(switch=True)),
        (dict(notes="a\nb"), dict(notes="a\nb")),
    ],
)
def test_python_values_become_those_of_the_field(values: Any, expected: Any) -> None:
    options = replace(Options(), values)
    assert options == Options(**expected)
    for name, value in expected.items():
        assert type(getattr(options, name)) is type(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(count=True), "count must be a whole number from 1 to 10, such as 3, not True"),
        (dict(count=2.5), "not 2.5"),
        (dict(count="2"), "not '2'"),
        (dict(count=float("nan")), "not nan"),
        (dict(count=None), "not None"),
        (dict(count=(2,)), r"not \(2,\)"),
        (dict(share=float("nan")), "share must be a number from 0 to 1, not nan"),
        (dict(sides=4), r"sides must be whole numbers from 2 to 1000000000, such as \(4,\), not 4"),
        (dict(sides=(4, 1)), r"not \(4, 1\)"),
        (dict(switch=2), "switch must be 0 or 1, such as False, not 2"),
        (dict(kind="c"), "kind must be one of a, b, not 'c'"),
        (dict(some_name="a\nb"), "not 'a.nb'"),
    ],
)
def test_other_python_values_are_refused(values: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(Options(), values)


def test_a_flag_has_its_spellings_help_and_default() -> None:
    parser = argparse.ArgumentParser()
    for each in FIELDS.values():
        add_flag(parser, each)
    text = " ".join(parser.format_help().split())
    for part in (
        *("--count N, --amount N count, 100 % of it (default: 3)", "--share X share --sides"),
        *("--sides N,... sides (default: 4)", "--switch [0|1] switch (default: 0)"),
        *("--kind {a,b} kind (default: a)", "--some-name TEXT name (default: x)"),
    ):
        assert part in text
    flags = parser.parse_args(["--amount", "5", "--switch", "--some-name", "y"])
    assert (flags.count, flags.switch, flags.some_name, flags.sides) == (5, True, "y", (4,))


@dataclass(frozen=True)
class Inner:
    size: int = field(REQUIRED, "size", low=1)


@dataclass(frozen=True)
class Document:
    name: str = field(REQUIRED, "name")
    inner: Optional[Inner] = field(None, "inner")
    loose: Optional[Inner] = field(None, "loose", open=True)
    table: Dict[str, Any] = field(None, "table")


def test_a_document_becomes_values() -> None:
    document = dict(name="a", inner=dict(size=2.0), loose=dict(size=1, more=3), table=dict(x=[1]))
    expected = {**document, "inner": dict(size=2)}
    assert check_document(Document, document, "x.json: ") == expected
    assert check_document(Document, dict(name="a", inner=None), "x.json: ") == dict(name="a")
    assert check_document(Document, dict(name="a", z=1), "", open=True) == dict(name="a", z=1)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "x.json must be an object in braces, not []"),
        ({}, "x.json: name is missing"),
        (dict(name=None), "x.json: name is missing"),
        (dict(name=1), "x.json: name must be text, not 1"),
        (dict(name="a", z=1), "x.json: 'z' is no key of it; it has name, inner, loose, table"),
        (dict(name="a", inner=dict(size=1, z=1)), "x.json: inner.'z' is no key of it; it has size"),
        (dict(name="a", inner=dict(size=0)), "x.json: inner.size must be a whole number from 1"),
        (dict(name="a", inner=3), "x.json: inner must be an object in braces, not 3"),
        (dict(name="a", table=3), "x.json: table must be an object in braces, not 3"),
    ],
)
def test_other_documents_are_refused(document: Any, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_document(Document, document, "x.json: ")
    assert str(refusal.value).startswith(message)
