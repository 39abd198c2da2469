"""PyTorch modules run in a process of their own, by a Python that has PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Optional

import numpy as np

from ..errors import UserError
from ..installation import INTERPRETER

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run_torch_module.py")
MISSING = 3  # exit status of the script where PyTorch or safetensors is not installed


def torch_python() -> str:
    """The interpreter that runs PyTorch."""
    return os.environ.get(INTERPRETER, sys.executable)


def torch_outputs(
    module: str, images: np.ndarray, folder: str, *arguments: str
) -> Optional[np.ndarray]:
    """Outputs of a PyTorch module for images; None where PyTorch is not installed.

    Args:
        module: `MODULE:CALLABLE`, imported from the folder or the working directory; the callable
            returns the module.
        folder: temporary folder; if it has `weights.npz`, the module gets those weights.
        arguments: of the callable.
    """
    python = torch_python()
    np.save(os.path.join(folder, "images.npy"), images)
    try:
        process = subprocess.run(
            [python, SCRIPT, module, folder, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise UserError(f"cannot run {python}: {error.strerror}; see {INTERPRETER}") from None
    if process.returncode == MISSING:
        return None
    if process.returncode:
        lines = process.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(
            f"{module} could not be run by {python}: {lines[-1]}; {INTERPRETER} can name another "
            "Python"
        )
    return np.load(os.path.join(folder, "outputs.npy"))
