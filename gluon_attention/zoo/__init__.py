"""The networks: one folder per paper, whose `options` registers its names."""

from .glimpse import options as _glimpse  # noqa: F401
from .racnn import options as _racnn  # noqa: F401
from .ram import options as _ram  # noqa: F401
from .registry import list_models, options_of
from .residual_attention import options as _residual_attention  # noqa: F401

__all__ = ["list_models", "options_of"]
