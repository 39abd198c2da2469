"""Ctrl-C and SIGTERM: a run ends between two steps and says how to resume."""

from __future__ import annotations

import os
import signal

from gluon_attention.command_line import command
from gluon_attention.training import engine, evaluation
from gluon_attention.training.signals import StopRequest

import pytest


def strike(monkeypatch, owner, name, at, number):
    """Send a signal to this process in call number `at` of a function."""
    keep, calls = getattr(owner, name), []

    def struck(*words):
        calls.append(0)
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return keep(*words)

    monkeypatch.setattr(owner, name, struck)
    return calls


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_signal_ends_the_run_after_its_step(
    train_toy, tmp_path, monkeypatch, capsys, number, status
):
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        moves = strike(patch, engine.Run, "apply", at=7, number=number)  # of five an epoch
        with pytest.raises(SystemExit) as exit_:
            command(train_toy)
    assert exit_.value.code == status and len(moves) == 7
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("stopping after this step")
    assert errors[1:] == [f"stopped by {number.name}; the same command resumes after epoch 1"]
    assert signal.getsignal(number) is handler
    names = {path.name for path in (tmp_path / "toy").iterdir() if path.name[0] != "e"}
    assert names == {"best.params", "config.json", "history.csv", "last.npz"}
    train_toy()
    assert "resuming after epoch 1 of 3" in capsys.readouterr().out


def test_a_run_stopped_in_its_first_epoch_says_that_it_starts_again(train_toy, monkeypatch):
    strike(monkeypatch, engine.Run, "apply", at=2, number=signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match="starts anew, as no epoch is complete"):
        train_toy()


def test_a_signal_ends_an_evaluation(train_toy, monkeypatch):
    reads = strike(monkeypatch, evaluation, "split", at=1, number=signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train_toy()
    assert len(reads) == 1


def test_a_second_signal_acts_at_once():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.received == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second signal was waited for")
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_signal_nothing_stops():
    with StopRequest() as stop:
        stop.check("never")
