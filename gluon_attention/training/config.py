"""The settings of a training script: each is declared once, as a field of a frozen dataclass."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, TypeVar

from .. import fields
from ..command_line import Parser
from ..errors import UserError

BEST = "best.params"  # weights of the best epoch, in the run folder
DISTRIBUTED = ("dist_sync", "dist_device_sync", "dist_async", "horovod")  # over processes
THREADS = 512  # largest number of threads that decode
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
        decides: whether trained weights depend on it, so that a run cannot resume with another.
        bounds: `choices`, `low` and `high`.
    """
    return fields.field(default, help, *flags, group=group, decides=decides, **bounds)


data_setting = partial(setting, group=DATA)
network_setting = partial(setting, group=NETWORK)
optimisation_setting = partial(setting, group=OPTIMISATION)
schedule_setting = partial(setting, group=SCHEDULE)
devices_setting = partial(setting, group=DEVICES)
output_setting = partial(setting, group=OUTPUT, decides=False)


@dataclass(frozen=True)
class Config:
    """The settings of every training script; a script redefines defaults and adds its own."""

    data_dir: str = data_setting("data", "folder of the data set", decides=False)
    validation: int = data_setting(
        5000,
        "training images held out to choose the best epoch, at most a tenth; 0: training on all, "
        "and the last epoch is kept",
        low=0,
    )
    workers: int = data_setting(
        2, "threads that decode pictures", "-j", low=0, high=THREADS, decides=False
    )
    accept_data: bool = data_setting(
        False,
        "resumption on other data than those of the epochs so far",
        decides=False,
    )

    optimizer: str = optimisation_setting(
        "nag", "optimizer", choices=("sgd", "nag", "adam", "lamb")
    )
    batch_size: int = optimisation_setting(64, "images per device and step", "-b", low=1)
    accumulate: int = optimisation_setting(
        1,
        "parts a batch is split into to save memory; BatchNorm normalises each part by itself",
        low=1,
        decides=False,
    )
    momentum: float = optimisation_setting(0.9, "momentum of sgd and nag", low=0, high=1)
    weight_decay: float = optimisation_setting(
        1e-4, "weight decay, none on BatchNorm and biases", "--wd", low=0
    )
    clip: Optional[float] = optimisation_setting(
        None, "largest norm of the gradient (default: unlimited)", low=1e-9
    )
    ema: Optional[float] = optimisation_setting(
        None,
        "decay of the moving average of the weights, for evaluation (default: no average)",
        low=0,
        high=1,
    )
    swa: float = optimisation_setting(
        0.0,
        "share of the epochs, at the end, whose weights are averaged for evaluation (SWA), with "
        "BatchNorm statistics computed for the average",
        low=0,
        high=1,
    )
    skip_nonfinite: bool = optimisation_setting(
        False,
        "no step where loss or images are NaN or Inf; the check slows every step",
        decides=False,
    )
    seed: int = optimisation_setting(
        0, "seed of initial weights, batch order, augmentation and noise", low=0, high=2**31 - 1
    )

    epochs: int = schedule_setting(200, "passes over the training set", low=1)
    lr: float = schedule_setting(0.1, "highest learning rate", "--learning-rate", low=0)
    lr_steps: Tuple[int, ...] = schedule_setting(
        (),
        "epochs after which the learning rate is multiplied by --lr-factor (default: --decay)",
        low=1,
    )
    lr_factor: float = schedule_setting(
        0.1, "factor of the learning rate at each of --lr-steps", low=0, high=1
    )
    decay: str = schedule_setting(
        "cosine", "decay of the learning rate to 0 without --lr-steps", choices=("cosine", "linear")
    )
    swa_lr: Optional[float] = schedule_setting(
        None,
        "constant learning rate of the epochs of --swa (default: no constant end)",
        low=0,
    )
    warmup_epochs: float = schedule_setting(
        0.0, "epochs of linear warm-up from learning rate 0", low=0
    )

    label_smoothing: float = setting(
        0.0,
        "label smoothing epsilon: each of K classes gets epsilon / K, the label 1 - epsilon more",
        "--epsilon",
        low=0,
        high=1,
    )

    num_gpus: Optional[int] = devices_setting(
        None, "number of GPUs, 0 for the CPU (default: all)", low=0
    )
    dtype: str = devices_setting(
        "float32",
        "data type of the computation; weights stay float32; auto: the fastest here",
        choices=("float32", "bfloat16", "float16", "auto"),
    )
    native: str = devices_setting(
        "auto",
        "training by the native library on a CPU; auto: if it is built and supports the network",
        choices=("auto", "0", "1"),
        decides=False,
    )
    sync_bn: bool = devices_setting(False, "BatchNorm statistics over the batch of all GPUs")
    kvstore: str = devices_setting(
        "device",
        "summation of gradients over devices or machines",
        choices=("local", "device", "nccl", *DISTRIBUTED),
    )
    compression: Optional[str] = devices_setting(
        None, "compression of gradients sent to other machines (default: none)", choices=("2bit",)
    )
    compression_threshold: float = devices_setting(
        0.5,
        "threshold t of 2bit compression: -t, 0 or t is sent, and the rest added to the next one",
        low=1e-9,
    )

    name: Optional[str] = output_setting(
        None, "name of the run folder (default: data set and network)"
    )
    log_dir: str = output_setting("runs", "parent folder of run folders")
    evaluate: bool = output_setting(False, "test of the run's best checkpoint without training")
    keep: str = output_setting(
        "best",
        "epoch whose weights are saved and tested: the best in validation, or the last",
        choices=("best", "last"),
        decides=True,
    )
    save_period: Optional[int] = output_setting(
        None, "epochs between further saved weights (default: the best weights alone)", low=1
    )
    log_interval: int = output_setting(50, "steps between two points of the training curves", low=1)
    histograms: Optional[int] = output_setting(
        None,
        "epochs between histograms of the kernels in TensorBoard (default: no histograms)",
        low=1,
    )

    def __post_init__(self) -> None:
        if self.ema and self.swa:  # before the first of several stages
            raise UserError("--ema and --swa both average the weights: set one of them to 0")

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

    @property
    def distributed(self) -> bool:
        """Whether several processes train one network."""
        return self.kvstore in DISTRIBUTED

    def deciding(self) -> Dict[str, Any]:
        """The settings that trained weights depend on."""
        return {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["decides"]
        }


@dataclass(frozen=True)
class MixupConfig(Config):
    """Settings of scripts that offer mixup."""

    mix_up: bool = setting(False, "mixup of pairs of images and of their labels")
    alpha: float = setting(
        1.0, "alpha of the distribution Beta(alpha, alpha) of mixup shares", low=1e-6
    )
    mix_up_off: float = setting(
        0.1, "share of the epochs, at the end, without mixup", low=0, high=1
    )
