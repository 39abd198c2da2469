"""The table of trained weights that ship with the package, or are in a folder of the user.

A folder of weights holds `index.json`: `{name: {"file": ..., "sha256": ..., "classes": ...}}`, and
optionally, for the command line, "names" of the classes, and "view" and "source" of the data, both
as in the `config.json` of a run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .. import fields
from ..errors import UserError
from ..fields import field
from ..storage.document import read_json

SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "weights")


@dataclass(frozen=True)
class IndexEntry:
    """An entry of `index.json`: the weights of one name."""

    file: str = field(fields.REQUIRED, "file of parameters in the same folder")
    sha256: str = field(fields.REQUIRED, "its digest, in hexadecimal")
    classes: int = field(fields.REQUIRED, "number of classes", low=1, high=10**6)
    names: Optional[Tuple[str, ...]] = field(None, "names of the classes", any_text=True)
    view: Optional[Dict[str, Any]] = field(None, "how pictures become inputs")
    source: Optional[Dict[str, Any]] = field(None, "data set")


def find_weights(name: str, root: Optional[str] = None) -> Dict[str, Any]:
    """The entry of a name's weights, with the file's whole path."""
    table = all_weights(root)
    if name not in table:
        names = ", ".join(sorted(table))
        available = f"these names have weights: {names}" if names else "no name has weights yet"
        raise UserError(f"there are no trained weights for '{name}'; {available}")
    return table[name]


def all_weights(root: Optional[str] = None) -> Dict[str, Dict[str, Any]]:
    """`{name: {"file", "sha256", "classes"}}` of the shipped weights and those in `root`."""
    if root is not None and not os.path.isdir(root):
        raise UserError(f"root {root} is no folder; leave it out for the weights that ship")
    table: Dict[str, Dict[str, Any]] = {}
    for folder in (SHIPPED, root) if root else (SHIPPED,):
        for name, weights in _index(folder).items():
            table[name] = {**weights, "file": os.path.join(folder, weights["file"])}
    return table


def _index(folder: str) -> Dict[str, Dict[str, Any]]:
    path = os.path.join(folder, "index.json")
    if not os.path.isfile(path):
        return {}
    document = read_json(path)
    if not isinstance(document, dict):
        raise UserError(f"{path} must be an object in braces, not {document!a:.60}")
    table = {}
    for name, content in document.items():
        entry = fields.check_document(IndexEntry, content, f"{path}: {name!a:.60}: ")
        if os.path.basename(entry["file"]) != entry["file"]:
            raise UserError(f"{path}: {name!a:.60}: file must be a name in the same folder")
        table[name] = entry
    return table
