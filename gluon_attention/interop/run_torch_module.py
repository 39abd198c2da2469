"""Run a PyTorch module on images; a program of its own, for a Python that has PyTorch.

    python run_torch_module.py MODULE:CALLABLE FOLDER

calls what is named, gives it `weights.npz` by name, and writes its answers to `images.npy` as
`answers.npy`: logits, or those of several scales. Imports nothing of this package.
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
    missing, over = net.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or over:
        sys.exit(f"the file and {name} disagree about {(missing + over)[0]}")
    images = torch.from_numpy(np.load(os.path.join(folder, "images.npy")))
    with torch.no_grad():
        answers = net.eval()(images)
    if isinstance(answers, (list, tuple)) and isinstance(answers[0], (list, tuple)):
        answers = answers[0]
    if isinstance(answers, (list, tuple)):
        alike = all(getattr(part, "shape", None) == answers[0].shape for part in answers)
        answers = torch.stack(list(answers), 1) if alike else answers[0]
    np.save(os.path.join(folder, "answers.npy"), answers.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
