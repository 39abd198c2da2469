"""The way in which this package is installed, a checkout or a wheel, for commands in messages."""

from __future__ import annotations

import os
import shlex
import sys
from importlib import metadata

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INTERPRETER = "GLUON_ATTENTION_TORCH"  # variable that names a Python with PyTorch
NATIVE = "python -m gluon_attention.native.build"


def pip_install(extra: str) -> str:
    """The command that installs this package with an extra."""
    if _is_checkout():
        return "pip install -e " + shlex.quote(f"{ROOT}[{extra}]")
    try:
        version = metadata.version("gluon_attention")
    except metadata.PackageNotFoundError:  # a copied folder
        version = "VERSION"
    return f"pip install 'gluon_attention-{version}-py3-none-any.whl[{extra}]'"


def pip_install_mxnet(build: str) -> str:
    """The command that installs a build of MXNet; on Python 3.13 no numpy fits its metadata."""
    options = "--no-deps " if sys.version_info >= (3, 13) else ""
    return f"pip install {options}{build}==1.9.1"


def build_native() -> str:
    """The command that builds the native library."""
    if _is_checkout():
        return f"make -C {shlex.quote(ROOT)} native"
    return f"{pip_install('native')} && {NATIVE}"


def _is_checkout() -> bool:
    return os.path.exists(os.path.join(ROOT, "setup.py"))
