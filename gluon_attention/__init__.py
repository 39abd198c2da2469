"""Visual attention networks for MXNet Gluon."""

from . import runtime

runtime.prepare()

from .errors import UserError  # noqa: E402
from .interop.load import load_weights  # noqa: E402
from .ops.attention_crop import AttentionCrop  # noqa: E402
from .transform import Transform, transform_of  # noqa: E402
from .zoo import get_model, list_models, options_of  # noqa: E402

__version__ = "0.1.0"
__all__ = ["AttentionCrop", "UserError", "get_model", "list_models", "load_weights", "options_of"]
__all__ += ["Transform", "transform_of", "__version__"]
