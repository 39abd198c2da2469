"""Names of networks: registered once, looked up by `get_model`, listed by `list_models`."""

from __future__ import annotations

import ast
import difflib
import fnmatch
import inspect
import numbers
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import mxnet as mx

from ..errors import UserError


class Entry(NamedTuple):
    """What is known of a name before anything is built."""

    name: str
    build: Callable[..., mx.gluon.HybridBlock]
    shape: Tuple[int, int, int]  # of one image: channels, height, width
    classes: int
    alias: bool  # kept for users of another zoo; not listed


LARGEST = 65_536  # absolute value of a number in an option
_NOT_OPTIONS = ("name", "classes", "pretrained", "ctx", "root")  # of get_model, but no options
_ENTRIES: Dict[str, Entry] = {}


def register(
    name: str,
    build: Callable[..., mx.gluon.HybridBlock],
    *,
    shape: Tuple[int, int, int],
    classes: int,
    alias: bool = False,
) -> None:
    """Make `get_model(name)` call `build(classes=..., **options)`; a name can be taken once."""
    if name in _ENTRIES:
        raise ValueError(f"model '{name}' is registered twice")
    _ENTRIES[name] = Entry(name, build, shape, classes, alias)


def entry(name: str) -> Entry:
    """The entry of a name, or an error that suggests the nearest ones."""
    found = _ENTRIES.get(str(name).lower())
    if found is None:
        name = str(name)[:60]  # a longer one takes long to compare
        near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
        raise UserError(
            f"unknown model '{name}'; {hint}gluon-attention list, or list_models(), names all"
        )
    return found


def list_models(pattern: str = "*", aliases: bool = False) -> List[str]:
    """Sorted names that match a shell pattern such as `'cifar_*'`."""
    return sorted(
        e.name
        for e in _ENTRIES.values()
        if fnmatch.fnmatch(e.name, pattern.lower()) and (aliases or not e.alias)
    )


def options_of(name: str) -> Dict[str, Any]:
    """Option names of a model and their defaults."""
    parameters = inspect.signature(entry(name).build).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "classes"}


def read_options(text: str) -> Dict[str, Any]:
    """`"core=lstm,crops=(64,64)"` as options of `get_model`; what is no number is a word."""
    options = {}
    for part in filter(None, re.split(r",(?![^()\[\]]*[)\]])", text)):
        name, _, value = part.partition("=")
        if name.strip() in _NOT_OPTIONS:
            raise UserError(f"'{name.strip()}' is not an option of a network; leave it out")
        try:
            options[name.strip()] = ast.literal_eval(value)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            options[name.strip()] = value
    return options


def get_model(
    name: str,
    classes: Optional[int] = None,
    pretrained: bool = False,
    ctx: Any = None,
    root: Optional[str] = None,
    **options: Any,
) -> mx.gluon.HybridBlock:
    """Build a network by name.

    Args:
        name: one of `list_models()`, in any case.
        classes: length of the logits; the data set of the name decides when it is None.
        pretrained: load trained weights, or fail if the name has none. For other `classes` than
            they tell apart, the layers that answer are initialised anew, to be trained.
        ctx: device or devices that pretrained weights are loaded on.
        root: folder searched for pretrained weights before the ones that ship with the package.
        options: what the family offers, see `options_of(name)`.

    Without `pretrained` the parameters are not initialised: call `net.initialize()`.
    """
    found = entry(name)
    accepted = options_of(found.name)
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise UserError(f"{found.name} has no option '{unknown[0]}'; it has {', '.join(accepted)}")
    options = {name: _as_default(name, value, accepted[name]) for name, value in options.items()}
    if classes is not None and (not isinstance(classes, numbers.Integral) or classes < 1):
        raise UserError(f"classes must be a whole number above 0, not {classes!r}")
    classes = found.classes if classes is None else int(classes)
    if pretrained not in (True, False):
        raise UserError(
            f"pretrained must be True or False, not {pretrained!a:.60}; load_weights(net, file) "
            "loads a file"
        )
    net = found.build(classes=classes, **options)
    net.recipe = dict(name=found.name, classes=classes, options=options)
    if pretrained:
        from .pretrained import load_pretrained  # only now: most calls need no weights

        load_pretrained(net, found.name, ctx=ctx or mx.cpu(), root=root)
    return net


def _as_default(option: str, value: Any, default: Any) -> Any:
    """A value as the type of the default of its option; what would change by that is refused."""
    kind = float if default is None else type(default)  # None stands for a number to be computed
    if kind is tuple:
        kind = type(default[0])
        if isinstance(value, (tuple, list)) and all(_fits(part, kind) for part in value):
            return tuple(map(kind, value))
        names = {int: "whole numbers", float: "numbers"}
    else:
        if value is None and default is None:
            return None
        if _fits(value, kind):
            return kind(value)
        names = {bool: "0 or 1", int: "a whole number", float: "a number"}
    such = "" if default is None else f", such as {default!r}"
    raise UserError(f"option {option} must be {names.get(kind, 'a word')}{such}, not {value!a:.60}")


def _fits(value: Any, kind: type) -> bool:
    """Whether a value can be turned into that kind without loss."""
    if kind is bool:
        return isinstance(value, numbers.Real) and value in (0, 1)
    if kind is str:
        return isinstance(value, str)
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST and kind(value) == value
