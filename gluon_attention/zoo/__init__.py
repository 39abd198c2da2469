"""The networks: one folder per paper, whose import registers its names."""

from .glimpse import network as _glimpse  # noqa: F401
from .glimpse import pretraining as _glimpse_stage1  # noqa: F401
from .racnn import network as _racnn  # noqa: F401
from .ram import network as _ram  # noqa: F401
from .registry import get_model, list_models, options_of
from .residual_attention import network as _residual_attention  # noqa: F401

__all__ = ["get_model", "list_models", "options_of"]
