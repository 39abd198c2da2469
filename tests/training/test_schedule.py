"""The learning rate, step by step."""

from __future__ import annotations

from typing import Any

from gluon_attention.training.config import Config
from gluon_attention.training.schedule import Schedule, averaged_epochs, schedule_warnings

import pytest


def schedule(lr: float, *, steps: int, **settings: Any) -> Schedule:
    return Schedule(Config(lr=lr, **settings), steps)


def test_cosine_after_a_linear_warm_up():
    rate = schedule(0.4, epochs=10, steps=100, warmup_epochs=2)
    assert [rate(i) for i in (0, 99, 199)] == pytest.approx([0.002, 0.2, 0.4])
    assert rate(600) == pytest.approx(0.2) and 0 < rate(999) < 1e-5
    assert all(rate(i) >= rate(i + 1) for i in range(200, 999))
    assert rate(1000) == rate(1500) == 0  # a server may count on while its workers end
    assert schedule(0.4, epochs=2, steps=5, warmup_epochs=2)(10) == 0.4


def test_milestones_are_epochs():
    rate = schedule(1.0, epochs=10, steps=5, lr_steps=(4, 8))
    assert [rate(i) for i in (0, 19, 20, 39, 40, 49)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_warm_up_of_less_than_a_step_has_no_effect():
    assert schedule(1.0, epochs=1, steps=10, warmup_epochs=0.05)(0) == 1.0
    part = schedule(1.0, epochs=1, steps=10, warmup_epochs=0.11)  # one step and a tenth of one
    assert [part(0), part(1)] == [pytest.approx(1 / 1.1), 1.0]


def test_a_linear_fall_ends_at_zero():
    rate = schedule(0.4, epochs=10, steps=10, warmup_epochs=2, decay="linear")
    assert [rate(i) for i in (9, 20, 60, 100)] == pytest.approx([0.2, 0.4, 0.2, 0])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_fall_ends_at_a_constant_rate(decay):
    rate = schedule(0.5, epochs=10, steps=10, decay=decay, swa=0.2, swa_lr=0.1)
    assert [rate(i) for i in (0, 40, 80, 99, 100)] == pytest.approx([0.5, 0.3, 0.1, 0.1, 0.1])
    server = rate.for_server(2, lr_scale=0.5)
    assert server(2 * 90 + 1) == pytest.approx(0.05)
    scaled = [2 * server(count) for count in (1, 2, 3, 4)]
    assert scaled == pytest.approx([rate(0), rate(0), rate(1), rate(1)])


def test_the_constant_rate_follows_milestones_too():
    rate = schedule(0.5, epochs=10, steps=10, lr_steps=(4,), swa=0.2, swa_lr=0.3)
    assert [rate(i) for i in (39, 40, 79, 80)] == pytest.approx([0.5, 0.05, 0.05, 0.3])
    assert averaged_epochs(Config(epochs=10, swa=0.01)) == 1


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        (dict(warmup_epochs=5), ["the learning rate never reaches --lr"]),
        (dict(warmup_epochs=4.9), []),
        (dict(lr_steps=(5, 9)), ["the learning rate never falls"]),
        (dict(lr_steps=(4, 9)), []),
        (dict(swa_lr=0.1), ["--swa-lr has no effect"]),
        (dict(swa_lr=0.1, swa=0.5), []),
    ],
)
def test_rates_that_are_never_reached_are_noted(settings, notes):
    lines = schedule_warnings(Config(epochs=5, **settings))
    assert len(lines) == len(notes)
    assert all(f"note: {note}" in line for line, note in zip(lines, notes))


def test_the_settings_of_a_run_make_its_schedule():
    rate = schedule(0.4, epochs=8, steps=5, swa=0.25, swa_lr=0.02, decay="linear")
    assert [rate(i) for i in (0, 15, 30, 39)] == pytest.approx([0.4, 0.21, 0.02, 0.02])
    plain = schedule(0.4, epochs=8, steps=5, swa=0.25, decay="linear")
    assert plain(20) == pytest.approx(0.2) and plain(40) == 0
