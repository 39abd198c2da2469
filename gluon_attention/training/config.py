"""The settings of a training script: each is declared once, as a field of a frozen dataclass."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, TypeVar

from .. import fields
from ..command_line import Parser

THREADS = 512  # largest number that one process may start
GROUPS = (  # sections of `--help`, in this order
    "data",
    "network",
    "optimisation",
    "schedule",
    "task, augmentation and regularisation",
    "devices and workers",
    "output",
)
DATA, NETWORK, OPTIMISATION, SCHEDULE, TASK, DEVICES, OUTPUT = GROUPS
C = TypeVar("C", bound="Config")


def setting(
    default: Any, help: str, *flags: str, group: str = TASK, decides: bool = True, **bounds: Any
) -> Any:
    """A `fields.field` of a `Config`.

    Args:
        group: its section of `--help`, one of `GROUPS`.
        decides: whether trained weights depend on it: a run cannot resume with another value.
        bounds: `choices`, `low` and `high`.
    """
    return fields.field(default, help, *flags, group=group, decides=decides, **bounds)


@dataclass(frozen=True)
class Config:
    """The settings of every training script; a script redefines defaults and adds its own."""

    data_dir: str = setting("data", "folder of the data set", group=DATA, decides=False)
    validation: int = setting(
        5000,
        "training images held out to choose the best epoch, at most a tenth of them; 0: all are "
        "trained on, and the last epoch is kept",
        group=DATA,
        low=0,
    )
    workers: int = setting(
        2, "threads that decode pictures", "-j", group=DATA, low=0, high=THREADS, decides=False
    )
    accept_data: bool = setting(
        False,
        "resumption on other data than those that the run was trained on so far",
        group=DATA,
        decides=False,
    )

    optimizer: str = setting(
        "nag", "optimizer", group=OPTIMISATION, choices=("sgd", "nag", "adam", "lamb")
    )
    batch_size: int = setting(64, "images per device and step", "-b", group=OPTIMISATION, low=1)
    accumulate: int = setting(
        1,
        "parts a batch is split into to save memory; BatchNorm normalises each part by itself",
        group=OPTIMISATION,
        low=1,
        decides=False,
    )
    momentum: float = setting(0.9, "momentum of sgd and nag", group=OPTIMISATION, low=0, high=1)
    weight_decay: float = setting(
        1e-4, "weight decay, none on BatchNorm and biases", "--wd", group=OPTIMISATION, low=0
    )
    clip: Optional[float] = setting(
        None, "largest norm of the gradient (default: unlimited)", group=OPTIMISATION, low=1e-9
    )
    ema: Optional[float] = setting(
        None,
        "decay of the moving average of weights that is evaluated (default: no average)",
        group=OPTIMISATION,
        low=0,
        high=1,
    )
    swa: float = setting(
        0.0,
        "share of the epochs, at the end, after each of which weights enter the mean that is "
        "evaluated (SWA), with BatchNorm statistics of its own",
        group=OPTIMISATION,
        low=0,
        high=1,
    )
    skip_nonfinite: bool = setting(
        False,
        "steps whose loss or images are NaN or Inf are skipped; checking it slows every step",
        group=OPTIMISATION,
        decides=False,
    )
    seed: int = setting(
        0,
        "seed of initial weights, batch order, augmentation and noise",
        group=OPTIMISATION,
        low=0,
        high=2**31 - 1,
    )

    epochs: int = setting(200, "passes over the training set", group=SCHEDULE, low=1)
    lr: float = setting(0.1, "highest learning rate", "--learning-rate", group=SCHEDULE, low=0)
    lr_steps: Tuple[int, ...] = setting(
        (),
        "epochs after which the learning rate is multiplied by --lr-factor (default: --decay)",
        group=SCHEDULE,
        low=1,
    )
    lr_factor: float = setting(
        0.1, "factor of the learning rate at each of --lr-steps", group=SCHEDULE, low=0, high=1
    )
    decay: str = setting(
        "cosine",
        "fall of the learning rate to 0 without --lr-steps",
        group=SCHEDULE,
        choices=("cosine", "linear"),
    )
    swa_lr: Optional[float] = setting(
        None,
        "constant learning rate of the epochs of --swa, where the fall ends (default: as without)",
        group=SCHEDULE,
        low=0,
    )
    warmup_epochs: float = setting(
        0.0, "epochs of linear warm-up from learning rate 0", group=SCHEDULE, low=0
    )

    label_smoothing: float = setting(
        0.0,
        "label smoothing epsilon: each of K classes gets epsilon / K, the label 1 - epsilon more",
        "--epsilon",
        low=0,
        high=1,
    )

    num_gpus: Optional[int] = setting(
        None, "number of GPUs, 0 for the CPU (default: all)", group=DEVICES, low=0
    )
    dtype: str = setting(
        "float32",
        "data type of the computation; weights stay float32; auto: the fastest here",
        group=DEVICES,
        choices=("float32", "bfloat16", "float16", "auto"),
    )
    native: str = setting(
        "auto",
        "training by the native library on a CPU; auto: where it is built and knows the network",
        group=DEVICES,
        choices=("auto", "0", "1"),
        decides=False,
    )
    sync_bn: bool = setting(
        False, "BatchNorm statistics of the batch of all GPUs together", group=DEVICES
    )
    kvstore: str = setting(
        "device",
        "summation of gradients over devices or machines",
        group=DEVICES,
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
    compression: Optional[str] = setting(
        None,
        "compression of gradients sent to other machines (default: none)",
        group=DEVICES,
        choices=("2bit",),
    )
    compression_threshold: float = setting(
        0.5,
        "t of 2bit compression: of each summed gradient -t, 0 or t is sent, the rest later",
        group=DEVICES,
        low=1e-9,
    )

    name: Optional[str] = setting(
        None,
        "name of the run folder (default: data set and network)",
        group=OUTPUT,
        decides=False,
    )
    log_dir: str = setting("runs", "parent folder of run folders", group=OUTPUT, decides=False)
    evaluate: bool = setting(
        False, "test of the run's best checkpoint without training", group=OUTPUT, decides=False
    )
    keep: str = setting(
        "best",
        "epoch whose weights are kept and tested: the best on held-out images, or the last",
        group=OUTPUT,
        choices=("best", "last"),
    )
    save_period: Optional[int] = setting(
        None,
        "epochs between further weights that are kept (default: only the best are)",
        group=OUTPUT,
        low=1,
        decides=False,
    )
    log_interval: int = setting(
        50, "steps between two points of the training curves", group=OUTPUT, low=1, decides=False
    )
    histograms: Optional[int] = setting(
        None,
        "epochs between histograms of the kernels in TensorBoard (default: no histograms)",
        group=OUTPUT,
        low=1,
        decides=False,
    )

    @classmethod
    def redefine(cls, name: str, default: Any, **changes: Any) -> Any:
        """The field of a setting for a subclass: another default, and other metadata if needed."""
        field = cls.__dataclass_fields__[name]
        return dataclasses.field(default=default, metadata={**field.metadata, **changes})

    @classmethod
    def parse(
        cls: type[C],
        argv: Optional[Sequence[str]] = None,
        description: str = "",
        prog: Optional[str] = None,
        defaults: Optional[Mapping[str, Any]] = None,
    ) -> C:
        """Read the command line; a mistake is a `UserError`.

        Args:
            argv: the arguments; those of this process if None.
            description: of the script, for `--help`.
            prog: name of the program, for `--help`; that of this process if None.
            defaults: of some settings, in place of those that the class declares.
        """
        raw = argparse.RawDescriptionHelpFormatter
        parser = Parser(prog=prog, description=description, allow_abbrev=False, formatter_class=raw)
        declared = list(fields.declared(cls))
        for field in declared:
            if defaults and field.name in defaults:
                help = field.metadata["help"].partition(" (default: ")[0]
                field.default, field.metadata = (
                    defaults[field.name],
                    {**field.metadata, "help": help},
                )
        for name in GROUPS:
            group = parser.add_argument_group(name)
            for field in declared:
                if field.metadata["group"] == name:
                    fields.add_flag(group, field)
        return cls(**vars(parser.parse_args(argv)))

    def deciding(self) -> Dict[str, Any]:
        """The settings that trained weights depend on."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]
        }


@dataclass(frozen=True)
class MixupConfig(Config):
    """Settings of scripts whose networks learn from mixed images."""

    mix_up: bool = setting(False, "mixup of pairs of images and of their labels")
    alpha: float = setting(
        1.0, "alpha of the distribution Beta(alpha, alpha) of mixup shares", low=1e-6
    )
    mix_up_each: bool = setting(False, "mixup share drawn for each pair instead of each batch")
    mix_up_off: float = setting(
        0.1, "share of the epochs, at the end, without mixup", low=0, high=1
    )
