"""Names of networks: registered once, looked up by `get_model`, listed by `list_models`.

Nothing here imports MXNet; `build.get_model` builds the networks.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import fnmatch
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Tuple

from ..errors import UserError

if TYPE_CHECKING:
    from .attention_net import AttentionNet


class Entry(NamedTuple):
    """A registered name: all that is needed to build its network."""

    name: str
    build: Callable[..., AttentionNet]  # (classes, options, prefix=, params=) -> net
    options: Any  # the name's own defaults: an instance of the family's dataclass of options
    shape: Tuple[int, int, int]  # of one image: channels, height, width
    classes: int
    alias: bool  # a name of another zoo; not listed


# Arguments of `get_model` that are not options of a network.
ARGUMENTS = ("name", "classes", "pretrained", "ctx", "root", "prefix", "params")
ARGUMENTS += ("features_only", "out_indices")
_ENTRIES: Dict[str, Entry] = {}


def register(
    name: str,
    build: Callable[..., AttentionNet],
    *,
    options: Any,
    shape: Tuple[int, int, int],
    classes: int,
    alias: bool = False,
) -> None:
    """Let `get_model(name)` call `build(classes, options, **kwargs)`; names are unique.

    Args:
        build: class of the network, or a function; it also gets Gluon's `prefix` and `params`.
        options: a frozen dataclass declared with `fields.field`; its values are the defaults.
        shape: channels, height and width of one image.
        classes: length of the logits unless the caller says otherwise.
        alias: whether it is the name of another zoo, which is not listed.
    """
    if name in _ENTRIES:
        raise ValueError(f"model '{name}' is registered twice")
    _ENTRIES[name] = Entry(name, build, options, shape, classes, alias)


def later(module: str, name: str) -> Callable[..., AttentionNet]:
    """The class `name` of a module, which the first call imports, and MXNet with it."""

    def build(*arguments: Any, **more: Any) -> AttentionNet:
        return getattr(import_module(module), name)(*arguments, **more)

    return build


def entry(name: str) -> Entry:
    """The entry of a name, or an error that suggests the nearest ones."""
    if str(name).lower() in _ENTRIES:
        return _ENTRIES[str(name).lower()]
    name = str(name)[:60]  # the comparison of longer names is slow
    near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise UserError(
        f"unknown model '{name}'; {hint}gluon-attention list, or list_models(), names all"
    )


def list_models(pattern: str = "*", aliases: bool = False) -> List[str]:
    """Sorted names that match a shell pattern such as `'cifar_*'`."""
    return sorted(
        e.name
        for e in _ENTRIES.values()
        if fnmatch.fnmatch(e.name, pattern.lower()) and (aliases or not e.alias)
    )


def options_of(name: str) -> Dict[str, Any]:
    """Option names of a model and their defaults."""
    return values_of(entry(name).options)


def read_options(text: str) -> Dict[str, Any]:
    """`"core=lstm,crops=(64,64)"` as options of `get_model`; values are literals or text."""
    options = {}
    for part in filter(None, re.split(r",(?![^()\[\]]*[)\]])", text)):
        name, _, value = part.partition("=")
        if name.strip() in ARGUMENTS:
            raise UserError(f"'{name.strip()}' is not an option of a network; leave it out")
        try:
            options[name.strip()] = ast.literal_eval(value)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            options[name.strip()] = value
    return options


def values_of(options: Any) -> Dict[str, Any]:
    """The fields of a dataclass of options."""
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
