"""Visual attention networks for MXNet Gluon."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from . import runtime
from .command_line import end_in_a_line
from .errors import UserError
from .zoo import list_models, options_of

if TYPE_CHECKING:
    from .interop.load import load_weights
    from .ops.attention_crop import AttentionCrop
    from .transform import Transform, transform_of
    from .zoo.build import get_model

try:
    runtime.prepare()
except UserError:  # programs import this first, before `command` can turn it into a line
    sys.excepthook = end_in_a_line
    raise

__version__ = "0.1.0"
__all__ = ["AttentionCrop", "UserError", "get_model", "list_models", "load_weights", "options_of"]
__all__ += ["Transform", "transform_of", "__version__"]

# Imported on first use, as they import MXNet: the command line reads its flags without it.
_LATER = {
    "AttentionCrop": "ops.attention_crop",
    "Transform": "transform",
    "get_model": "zoo.build",
    "load_weights": "interop.load",
    "transform_of": "transform",
}


def __dir__() -> List[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    runtime.import_mxnet()
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
