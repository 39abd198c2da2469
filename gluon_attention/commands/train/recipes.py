"""Recipes: fixed settings by the name of the network that they train.

gluon-attention train cifar10 --recipe cifar_residual_attention56_slim
gluon-attention train mnist --recipe ram_cluttered_100
gluon-attention train cub200 --recipe racnn_mobilenet_v2_activation --backbone-weights FILE

Flags override a recipe, in all of its stages. docs/residual_attention.md gives the sources of the
settings for CIFAR-10.
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import replace
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Sequence, TypeVar

from ...errors import UserError
from ...scripts import ZooConfig, preset
from ...training.config import BEST, schedule_setting

C = TypeVar("C", bound=ZooConfig)


class Recipe(NamedTuple):
    """Settings of a training in stages, each of which starts from the weights of the last."""

    about: str  # with time and error from benchmarks/results.csv, or "not run"
    stages: Sequence[Mapping[str, Any]]


# All images, a learning rate that falls to 0, a moving average, and the last epoch.
CIFAR = dict(
    validation=0,
    keep="last",
    optimizer="sgd",  # resumes bit for bit on one thread, as MXNet's Nesterov update does not
    lr=0.1,
    decay="linear",
    warmup_epochs=5.0,
    weight_decay=5e-4,
    ema=0.9995,
    cutout=8,
    label_smoothing=0.1,
    flip="alternating",
    padding="reflect",
    dtype="auto",
)
SLIM = dict(CIFAR, shape="slim", epochs=90, batch_size=128)
CIFAR10_RECIPES = {
    "cifar_residual_attention56_slim": Recipe(
        "90 epochs on all 50,000 images, to a learning rate of 0, then 24 at a constant one, the "
        "last 18 averaged; 5.15 %, 4.69 % with mirror images; six hours on two cores.",
        (
            dict(SLIM, num_layers=56),
            dict(
                SLIM,
                num_layers=56,
                epochs=24,
                lr=0.02,
                warmup_epochs=1.0,
                ema=0.0,
                swa=0.75,
                swa_lr=0.02,
            ),
        ),
    ),
    "cifar_residual_attention92_slim": Recipe(
        "24 epochs on all 50,000 images, to a learning rate of 0; 7.46 %, 7.05 % with mirror "
        "images; two and a half hours on two cores. More epochs were not run.",
        (dict(SLIM, num_layers=92, epochs=24),),
    ),
    "cifar_residual_attention56": Recipe(
        "24 epochs on all 50,000 images, to a learning rate of 0; 6.55 %, 6.46 % with mirror "
        "images; five hours on two cores.",
        (dict(CIFAR, num_layers=56, shape="wide", epochs=24, batch_size=64),),
    ),
}

RAM = dict(optimizer="adam", batch_size=128, augment=0.5)
# Easier tasks first, with four glimpses, then with eight: translated digits, then clutter.
WIDER = "widths=(128,128,256,256,128)"
EASIER = (
    dict(RAM, task="translated60", epochs=16, lr=1.5e-3, glimpses=4, options="std=0.15"),
    dict(RAM, task="cluttered60", epochs=14, lr=1.5e-3, glimpses=4, options=f"std=0.12,{WIDER}"),
    dict(RAM, task="cluttered60", epochs=32, lr=1.2e-3, options=f"std=0.08,{WIDER}"),
)
WIDEST = "widths=(256,128,256,384,128)"
WIDE_RAM = dict(RAM, samples=2, lr=1.5e-3)
MNIST_RECIPES = {
    "ram_28": Recipe(
        "100 epochs; 0.55 % with ten episodes, 1.35 % with one; half an hour on one busy core.",
        (
            dict(
                RAM,
                task="28",
                epochs=100,
                lr=1.5e-3,
                decay="linear",
                ema=0.999,
                samples=4,
                augment=0.8,
            ),
        ),
    ),
    "ram_translated_60": Recipe(
        "82 epochs, 46 of them with clutter; 0.78 % with ten episodes, 1.02 % with one; half an "
        "hour on one busy core.",
        (*EASIER, dict(RAM, task="translated60", epochs=20, lr=1e-3, options="std=0.05")),
    ),
    "ram_cluttered_60": Recipe(
        "22 epochs with four glimpses, then 110 with eight; 1.94 % with ten episodes, 2.64 % with "
        "one, on average of two seeds; an hour on one busy core.",
        (
            dict(
                WIDE_RAM,
                task="translated60",
                epochs=10,
                glimpses=4,
                options=f"std=0.15,{WIDEST}",
            ),
            dict(
                WIDE_RAM,
                task="cluttered60",
                epochs=12,
                glimpses=4,
                options=f"std=0.12,{WIDEST}",
            ),
            dict(
                WIDE_RAM,
                task="cluttered60",
                epochs=110,
                decay="linear",
                ema=0.999,
                augment=1.0,
                options=f"std=0.06,{WIDEST}",
            ),
        ),
    ),
    "ram_cluttered_100": Recipe(
        "62 epochs of easier tasks, then 52 of its own, with four glimpses, then with eight; 2.64 "
        "% with ten episodes, 3.91 % with one; 52 minutes on one busy core.",
        (
            *EASIER,
            dict(RAM, task="cluttered100", epochs=12, lr=1.2e-3, glimpses=4, options="std=0.08"),
            dict(RAM, task="cluttered100", epochs=40, lr=1e-3, options="std=0.06", augment=1.0),
        ),
    ),
}

# As much computation as one scale of 448 pixels.
CUB200_RECIPES = {
    "racnn_mobilenet_v2_activation": Recipe(
        "23 epochs; 20 classes of 30 training images: 92.7 % correct on average of three seeds, "
        "70 minutes on one busy core; needs --backbone-weights.",
        (
            dict(
                model="mobilenet_v2_activation",
                keep="last",
                optimizer="adam",
                lr=1e-4,
                lr_steps=(20,),
                lr_factor=0.2,
                accumulate=2,
                epochs=23,
            ),
        ),
    ),
}


def recipe_setting(recipes: Mapping[str, Recipe]) -> Any:
    return schedule_setting(
        None,
        "recipe that replaces the defaults and names the run; listed above",
        choices=tuple(recipes),
        decides=False,
    )


def parse_stages(
    kind: type[C],
    recipes: Mapping[str, Recipe],
    argv: Optional[Sequence[str]],
    prog: Optional[str],
    description: str,
    defaults: Optional[Mapping[str, Any]] = None,
) -> Iterator[C]:
    """The settings of each training of a command line: one, or the stages of a recipe.

    Args:
        kind: the settings of the script, with a `recipe_setting`.
        argv, prog, description, defaults: of `Config.parse`; a recipe precedes `defaults`.
    """
    name = preset(argv, "--recipe", {name: {"name": name} for name in recipes}).get("name")
    stages = [dict(stage, name=name) for stage in recipes[name].stages] if name else [{}]
    description += listing(recipes)
    configs = [
        kind.parse(
            argv,
            prog=prog,
            description=description,
            defaults={**(defaults or {}), **stage},
        )
        for stage in stages
    ]
    *earlier, last = configs
    if earlier and last.distributed:
        raise UserError(
            f"--kvstore {last.kvstore} trains one network at a time, and --recipe {name} trains "
            f"{len(configs)}: leave one of them out"
        )
    start = last.start_from
    for number, config in enumerate(earlier, 1):
        stage_name = f"{last.name}-stage{number}"
        if not last.evaluate:
            yield replace(config, name=stage_name, start_from=start)
        start = os.path.join(last.log_dir, stage_name, BEST)
    yield replace(last, start_from=start)


def listing(recipes: Mapping[str, Recipe]) -> str:
    """The recipes, for `--help`."""
    lines = ["", "recipes:"]
    for name, recipe in recipes.items():
        about = textwrap.wrap(recipe.about, 92, initial_indent="    ", subsequent_indent="    ")
        lines += [f"  {name}", *about]
    return "\n".join(lines)
