"""Flags, their checks and their sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from gluon_attention import UserError
from gluon_attention.command_line import command
from gluon_attention.training.config import GROUPS, Config, MixupConfig, setting

import pytest


@dataclass(frozen=True)
class Depth(MixupConfig):
    num_layers: int = setting(56, "depth", choices=(56, 92))
    epochs: int = Config.redefine("epochs", 7)


def test_defaults_can_be_redefined():
    config = Depth.parse([])
    assert (config.num_layers, config.epochs, config.lr, config.num_gpus) == (56, 7, 0.1, None)


def test_the_reference_command_is_accepted():
    words = (
        "--num-layers 92 --num-gpus 1 --workers 2 --batch-size 64 --epochs 200 --lr-steps 80,120 "
        "--mix-up 1 --alpha 1.0 --learning-rate 0.2 --wd 5e-4 -b 32 -j 3 --epsilon 0.1"
    )
    config = Depth.parse(words.split())
    assert config.lr_steps == (80, 120) and config.mix_up is True and config.num_gpus == 1
    assert (config.lr, config.weight_decay, config.batch_size, config.workers) == (0.2, 5e-4, 32, 3)
    assert config.label_smoothing == 0.1


@pytest.mark.parametrize("words, value", [("--mix-up", True), ("--mix-up 0", False), ("", False)])
def test_switches(words, value):
    assert Depth.parse(words.split()).mix_up is value


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("--num-layers 93", "--num-layers: '93' is not one of 56, 92"),
        ("--epochs 0", "--epochs: '0' is not a whole number from 1"),
        ("--epochs many", "--epochs: 'many' is not a whole number"),
        ("--lr nan", "--lr.*'nan' is not"),
        ("--lr -1", "--lr"),
        ("--lr inf", "--lr.*'inf' is not a number"),
        ("--momentum 1.5", "'1.5' is not a number from 0 to 1"),
        ("--lr-steps 80,x", "'x' is not a whole number"),
        ("--mix-up maybe", "'maybe' is not 0 or 1"),
        ("--num-layer 92", "unknown flag --num-layer; did you mean --num-layers?"),
        ("--kvstore mpi", "--kvstore: 'mpi' is not one of local, device"),
        ("--epochs", "expected one argument"),
        ("92", "unrecognized arguments: 92"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        Depth.parse(words.split())
    assert "\n" not in str(caught.value)


def test_help_names_every_flag_and_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        Depth.parse(["--help"])
    output = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "--lr-steps" in output and "(default: 7)" in output and "{56,92}" in output
    sections = [line[:-1] for line in output.splitlines() if line.endswith(":")]
    assert [name for name in sections if name in GROUPS] == [n for n in GROUPS if n != "network"]


def test_only_deciding_settings_are_compared():
    one, other = Depth.parse([]), Depth.parse(["--workers", "9", "--log-dir", "elsewhere"])
    assert one.deciding() == other.deciding() != Depth.parse(["--lr", "1"]).deciding()


def test_tuples_can_be_defaults(capsys):
    @dataclass(frozen=True)
    class Steps(Config):
        lr_steps: Tuple[int, ...] = setting((3, 5), "steps")

    assert Steps.parse([]).lr_steps == (3, 5)


@pytest.mark.parametrize(
    "error, status", [(UserError("no"), 2), (KeyboardInterrupt(), 130), (None, 0)]
)
def test_commands_end_in_a_status_and_a_line(capsys, error, status):
    def main():
        if error:
            raise error

    with pytest.raises(SystemExit) as stopped:
        command(main)
    assert stopped.value.code == status
    assert len(capsys.readouterr().err.splitlines()) == (1 if error else 0)
