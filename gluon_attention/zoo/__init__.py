"""The networks: one file per paper, reached by name."""

from . import glimpse, ra_cnn, recurrent_attention, residual_attention  # noqa: F401
from .registry import get_model, list_models, options_of

__all__ = ["get_model", "list_models", "options_of"]
