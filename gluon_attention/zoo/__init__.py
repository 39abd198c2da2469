"""The networks: one file per paper, reached by name."""

from .glimpse import network as glimpse  # noqa: F401
from .racnn import network as ra_cnn  # noqa: F401
from .ram import network as recurrent_attention  # noqa: F401
from .registry import get_model, list_models, options_of
from .residual_attention import network as residual_attention  # noqa: F401

__all__ = ["get_model", "list_models", "options_of"]
