"""Run a PyTorch module on images; a program of its own, for a Python that has PyTorch.

    python run_torch_module.py MODULE:CALLABLE FOLDER

makes the module, loads `weights.npz` into it by name, and writes its outputs for `images.npy`,
logits or those of several scales, as `outputs.npy`. Imports nothing of this package.
"""

from __future__ import annotations

import importlib
import os
import sys

import numpy as np
import torch


def main(module: str, folder: str) -> None:
    sys.path.insert(0, os.getcwd())
    path, _, name = module.partition(":")
    net = getattr(importlib.import_module(path), name)()
    with np.load(os.path.join(folder, "weights.npz")) as arrays:
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
    main(*sys.argv[1:])
