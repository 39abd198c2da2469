"""Untrusted JSON, read with limits on its size and depth."""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import UserError
from .atomic import read_bytes

LARGEST = 1 << 24  # bytes of a document
DEEPEST = 32  # levels of nested objects and lists


def read_json(path: str) -> Any:
    """The document in a regular file; other files and invalid JSON are refused."""
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file")
    return parse_json(read_bytes(path, LARGEST + 1), path)


def parse_json(content: Any, origin: str) -> Any:
    """Parse bytes or text; `origin` names their source in messages."""
    if len(content) > LARGEST:
        raise UserError(f"{origin} is larger than {LARGEST >> 20} MB, more than it can need")
    try:
        document = json.loads(content)
    except RecursionError:
        raise UserError(f"{origin} is nested more than {DEEPEST} deep") from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of too many digits
        raise UserError(f"{origin} is not whole JSON: {error!s:.200}") from None
    level = [document]
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _parts(whole)]
    if any(isinstance(part, (dict, list)) for part in level):
        raise UserError(f"{origin} is nested more than {DEEPEST} deep")
    return document


def _parts(whole: Any) -> Any:
    if isinstance(whole, dict):
        return whole.values()
    return whole if isinstance(whole, list) else ()
