"""Run a PyTorch module on images; a program of its own, for a Python that has PyTorch.

    python run_torch_module.py MODULE:CALLABLE FOLDER [ARGUMENT...]

calls the callable, loads `weights.npz` into the module it returns, if the folder has that file, and
writes the module's outputs for `images.npy` (logits, or those of several scales) as `outputs.npy`.
Imports nothing of this package. The exit status is 3 where PyTorch or safetensors is not installed.
"""

from __future__ import annotations

import importlib
import os
import sys


def main(module: str, folder: str, *arguments: str) -> None:
    import numpy as np
    import torch

    sys.path[:0] = [folder, os.getcwd()]
    path, _, name = module.partition(":")
    net = getattr(importlib.import_module(path), name)(*arguments)
    weights = os.path.join(folder, "weights.npz")
    if os.path.exists(weights):
        with np.load(weights) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        missing, extra = net.load_state_dict(state, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or extra:
            sys.exit(f"the file and {name} disagree about {(missing + extra)[0]}")
    images = torch.from_numpy(np.load(os.path.join(folder, "images.npy")))
    with torch.no_grad():
        outputs = net.eval()(images)
    if isinstance(outputs, (list, tuple)) and isinstance(outputs[0], (list, tuple)):
        outputs = outputs[0]
    if isinstance(outputs, (list, tuple)):
        same = all(getattr(part, "shape", None) == outputs[0].shape for part in outputs)
        outputs = torch.stack(list(outputs), 1) if same else outputs[0]
    np.save(os.path.join(folder, "outputs.npy"), outputs.numpy())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ImportError as error:
        if error.name not in ("numpy", "safetensors", "torch"):
            raise
        sys.exit(3)
