"""A setting is declared once: a field of a frozen dataclass is flag, default, check and help."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple, TypeVar

from .. import fields
from ..command_line import Parser

THREADS = 512  # that one process is let start
C = TypeVar("C", bound="Config")


def setting(default: Any, help: str, *flags: str, decides: bool = True, **bounds: Any) -> Any:
    """A `fields.field` of a Config.

    Args:
        decides: whether trained weights depend on it: a run cannot resume with another value.
        bounds: `choices`, `low` and `high`.
    """
    return fields.field(default, help, *flags, decides=decides, **bounds)


@dataclass(frozen=True)
class Config:
    """What every training script accepts; a script overrides defaults and adds its own."""

    data_dir: str = setting(
        "data", "folder that holds the data set, or gets it by download", decides=False
    )
    log_dir: str = setting("runs", "folder that run folders are made in", decides=False)
    name: str = setting("", "name of the run folder; made from the model if empty", decides=False)
    evaluate: bool = setting(
        False, "evaluate the best checkpoint of the run and stop", decides=False
    )
    seed: int = setting(0, "seed of weights, order, augmentation and noise", low=0, high=2**31 - 1)
    epochs: int = setting(200, "passes over the training set", low=1)
    batch_size: int = setting(64, "images a device and step", "-b", low=1)
    accumulate: int = setting(
        1,
        "parts that a batch is computed in, one after the other, to save memory; BatchNorm sees "
        "each by itself",
        low=1,
        decides=False,
    )
    workers: int = setting(
        2,
        "threads that decode pictures, where there are any",
        "-j",
        low=0,
        high=THREADS,
        decides=False,
    )
    validation: int = setting(
        5000, "training images kept to choose the best epoch, a tenth of a sample at most", low=1
    )
    keep: str = setting(
        "best",
        "epoch whose weights are kept and tested: the best on validation images, or the last, "
        "where those are too few to choose by",
        choices=("best", "last"),
    )

    num_gpus: Optional[int] = setting(
        None, "GPUs to use, 0 for the CPU; all there are if absent", low=0
    )
    kvstore: str = setting(
        "device",
        "how gradients of several devices or machines are summed",
        choices=(
            "local",
            "device",
            "nccl",
            "dist_sync",
            "dist_device_sync",
            "dist_async",
            "horovod",
        ),
    )
    compression: str = setting(
        "none", "what gradients of other machines are sent as", choices=("none", "2bit")
    )
    compression_threshold: float = setting(
        0.5, "2bit sends -t, 0 or t of a gradient summed over the batch, the rest later", low=1e-9
    )
    sync_bn: bool = setting(False, "BatchNorm over the batch of all GPUs, not of each by itself")
    dtype: str = setting(
        "float32",
        "type of the computation; weights stay float32",
        choices=("float32", "bfloat16", "float16"),
    )

    optimizer: str = setting("nag", "optimizer", choices=("sgd", "nag", "adam", "lamb"))
    lr: float = setting(0.1, "highest learning rate", "--learning-rate", low=0)
    momentum: float = setting(0.9, "momentum of sgd and nag", low=0, high=1)
    weight_decay: float = setting(1e-4, "weight decay, none on BatchNorm and biases", "--wd", low=0)
    lr_steps: Tuple[int, ...] = setting(
        (), "epochs that multiply the rate by --lr-factor; cosine if empty", low=1
    )
    lr_factor: float = setting(0.1, "multiplies the rate at each of --lr-steps", low=0, high=1)
    warmup_epochs: float = setting(0.0, "epochs in which the rate rises linearly from 0", low=0)
    clip: float = setting(0.0, "largest norm of the gradient of a step; 0 for any", low=0)
    skip_nonfinite: bool = setting(
        False,
        "leave out steps whose loss or images are NaN or Inf; the host then waits for every pass",
        decides=False,
    )
    ema: float = setting(
        0.0, "decay of the moving average of weights that is evaluated; 0 for none", low=0, high=1
    )

    mix_up: bool = setting(False, "mix pairs of images and their labels")
    alpha: float = setting(
        1.0, "Beta(alpha, alpha) gives the share of each image of a pair", low=1e-6
    )
    mix_up_each: bool = setting(False, "draw a share for each pair instead of one for the batch")
    mix_up_off: float = setting(0.1, "last part of the epochs that does not mix", low=0, high=1)
    label_smoothing: float = setting(
        0.0,
        "epsilon: every class gets epsilon/K, the true one 1 - epsilon more",
        "--epsilon",
        low=0,
        high=1,
    )

    log_interval: int = setting(50, "steps between log points", low=1, decides=False)
    save_period: int = setting(
        0, "epochs between weights that are kept; 0 keeps best and last", low=0, decides=False
    )

    @classmethod
    def parse(cls: type[C], argv: Optional[Sequence[str]] = None, description: str = "") -> C:
        """Read the command line; a mistake is a `UserError`."""
        kind = argparse.RawDescriptionHelpFormatter
        parser = Parser(description=description, allow_abbrev=False, formatter_class=kind)
        for field in fields.declared(cls):
            fields.add_flag(parser, field)
        return cls(**vars(parser.parse_args(argv)))

    def deciding(self) -> Dict[str, Any]:
        """The settings that trained weights depend on."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]
        }
