"""A field of a dataclass declares a value once: default, help, bounds and choices.

Flags of the command line (`training.config.Config`) and options of networks are such fields: the
same declaration parses text, checks Python values and writes the line of `--help`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import numbers
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Type,
    Union,
    get_type_hints,
)

from .errors import UserError

LARGEST = 10**9  # of any number; a larger one is a typing error
REQUIRED = dataclasses.MISSING  # default of a key that a document must have
_SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True)
_SWITCH.update(dict.fromkeys(("0", "false", "no", "off"), False))
_NOUNS = {bool: "0 or 1", int: "a whole number", float: "a number", str: "text"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "words"}
_METAVARS = {bool: "0|1", int: "N", float: "X", str: "TEXT"}


def field(
    default: Any,
    help: str,
    *flags: str,
    choices: Optional[Sequence[Any]] = None,
    low: float = -math.inf,
    high: float = math.inf,
    **metadata: Any,
) -> Any:
    """A field of a frozen dataclass.

    Args:
        default: value of a field that the caller leaves out.
        help: noun phrase that stands alone in `--help`.
        flags: other spellings of its flag.
        choices: all accepted values, or None.
        low, high: smallest and largest accepted number.
        metadata: further metadata of the field.
    """
    metadata.update(help=help, flags=flags, choices=choices, low=low, high=high)
    return dataclasses.field(default=default, metadata=metadata)


class Declared:
    """A field and the parts of its type, such as `Optional[int]` or `Tuple[int, ...]`."""

    def __init__(self, field: dataclasses.Field, annotation: Any) -> None:
        self.name, self.default, self.metadata = field.name, field.default, field.metadata
        self.annotation, self.optional, self.many = annotation, False, False
        if getattr(annotation, "__origin__", None) is Union:  # Optional[...]
            self.optional = True
            annotation = next(part for part in annotation.__args__ if part is not type(None))
        if getattr(annotation, "__origin__", None) is tuple:
            self.many, annotation = True, annotation.__args__[0]
        if getattr(annotation, "__origin__", None) is dict:
            annotation = dict
        self.kind: type = annotation

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def accepted(self, many: bool = False) -> str:
        """The accepted values, as words of a message."""
        metadata = self.metadata
        if metadata["choices"]:
            return "one of " + ", ".join(map(str, metadata["choices"]))
        noun = _PLURALS[self.kind] if many else _NOUNS[self.kind]
        low, high = metadata["low"], metadata["high"]
        if self.kind in (bool, str) or (low, high) == (-math.inf, math.inf):
            return noun
        text = "{} from {:d} to {:d}" if self.kind is int else "{} from {:g} to {:g}"
        return text.format(noun, max(low, -LARGEST), min(high, LARGEST))

    def parse(self, text: str) -> Any:
        """Convert text to a value; an `ArgumentTypeError` says what is accepted."""
        if self.many:
            return tuple(self._parse_one(part.strip()) for part in text.split(",") if part.strip())
        return self._parse_one(text)

    def _parse_one(self, text: str) -> Any:
        try:
            if self.kind is bool:
                return _SWITCH[text.lower()]
            value = self.kind(text)
        except (ValueError, KeyError):
            raise self._refuse(text) from None
        if not self._allows(value):
            raise self._refuse(text)
        return value

    def _refuse(self, text: str) -> argparse.ArgumentTypeError:
        quoted = text if text.isprintable() else ascii(text)[1:-1]
        quoted = quoted if len(quoted) <= 60 else quoted[:57] + "..."
        return argparse.ArgumentTypeError(f"'{quoted}' is not {self.accepted()}")

    def check(self, value: Any) -> Any:
        """Convert a Python value to the type of the field; a `UserError` says what is accepted."""
        if value is None and self.optional:
            return None
        if self.many and isinstance(value, (tuple, list)):
            if all(self._fits(part) for part in value):
                return tuple(self.kind(part) for part in value)
        elif not self.many and self._fits(value):
            return self.kind(value)
        example = self.default not in (None, (), REQUIRED) and not self.metadata["choices"]
        such = f", such as {self.default!r}" if example else ""
        raise UserError(f"{self.name} must be {self.accepted(self.many)}{such}, not {value!a:.60}")

    def _fits(self, value: Any) -> bool:
        """Whether a value converts to the type without loss, and is accepted."""
        if self.kind is str:
            return isinstance(value, str) and self._allows(value)
        if not isinstance(value, numbers.Real):
            return False
        if self.kind is bool:
            return value in (0, 1)
        if isinstance(value, bool) or not abs(value) <= LARGEST or self.kind(value) != value:
            return False
        return self._allows(self.kind(value))

    def _allows(self, value: Any) -> bool:
        choices = self.metadata["choices"]
        if choices:
            return value in choices
        if self.kind is str:
            return value.isprintable() or self.metadata.get("any_text", False)
        low, high = self.metadata["low"], self.metadata["high"]
        return max(low, -LARGEST) <= value <= min(high, LARGEST)  # false of nan, too


def declared(kind: Type[Any]) -> Iterator[Declared]:
    """The fields of a dataclass."""
    annotations = get_type_hints(kind)
    return (Declared(field, annotations[field.name]) for field in dataclasses.fields(kind))


def number(
    kind: type, low: float = -math.inf, high: float = math.inf
) -> Callable[[str], Union[int, float]]:
    """A `type=` of argparse: a number from `low` to `high`."""
    return bounded("number", kind, low, high).parse


def bounded(name: str, kind: Any, low: float, high: float) -> Declared:
    """The declaration of a value of a type from `low` to `high`, outside of a dataclass."""
    field = dataclasses.field(default=None, metadata=dict(choices=None, low=low, high=high))
    field.name = name
    return Declared(field, kind)


def replace(options: Any, values: Mapping[str, Any]) -> Any:
    """A copy of a dataclass with new values of some fields, each checked."""
    fields = {field.name: field for field in declared(type(options))}
    return dataclasses.replace(options, **{k: fields[k].check(v) for k, v in values.items()})


def check_document(kind: Type[Any], document: Any, path: str, open: bool = False) -> Dict[str, Any]:
    """Check a JSON object against the fields of a dataclass, which may contain dataclasses.

    Args:
        kind: declares the keys; null counts as a missing key.
        path: of the object, for messages.
        open: whether undeclared keys are accepted; they are kept unchecked.
    """
    if not isinstance(document, dict):
        raise UserError(f"{path.rstrip(': .')} must be an object in braces, not {document!a:.60}")
    keys = {field.name: field for field in declared(kind)}
    unknown = sorted(set(document) - set(keys))
    if unknown and not open:
        raise UserError(f"{path}{unknown[0][:60]!a} is no key of it; it has {', '.join(keys)}")
    values = {key: document[key] for key in unknown}
    for name, field in keys.items():
        value = document.get(name)
        if value is None and field.default is REQUIRED:
            raise UserError(f"{path}{name} is missing")
        if value is None:
            continue
        if dataclasses.is_dataclass(field.kind):
            inner, is_open = f"{path}{name}.", field.metadata.get("open", False)
            values[name] = check_document(field.kind, value, inner, is_open)
        elif field.kind is not dict:
            try:
                values[name] = field.check(value)
            except UserError as error:
                raise UserError(f"{path}{error}") from None
        elif isinstance(value, dict):
            values[name] = value
        else:
            raise UserError(f"{path}{name} must be an object in braces, not {value!a:.60}")
    return values


def add_flag(parser: Any, field: Declared) -> None:
    metadata, more = field.metadata, {}
    if field.kind is bool:
        more = dict(nargs="?", const="1")
    choices, default = metadata["choices"], _shown(field.default)
    metavar = "{" + ",".join(map(str, choices)) + "}" if choices else _METAVARS[field.kind]
    parser.add_argument(
        field.flag,
        *metadata["flags"],
        dest=field.name,
        default=field.default,
        type=field.parse,
        metavar=f"{metavar},..." if field.many else metavar,
        help=metadata["help"].replace("%", "%%") + (f" (default: {default})" if default else ""),
        **more,
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)
