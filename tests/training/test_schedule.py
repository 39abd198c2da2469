"""The learning rate, step by step."""

from __future__ import annotations

from gluon_attention.training.schedule import Schedule

import pytest


def test_cosine_after_a_linear_warm_up():
    rate = Schedule(0.4, epochs=10, steps=100, warmup_epochs=2)
    assert [rate(i) for i in (0, 99, 199)] == pytest.approx([0.002, 0.2, 0.4])
    assert rate(600) == pytest.approx(0.2) and 0 < rate(999) < 1e-5
    assert all(rate(i) >= rate(i + 1) for i in range(200, 999))
    assert rate(1000) == rate(1500) == 0  # a server may count on while its workers end
    assert Schedule(0.4, epochs=2, steps=5, warmup_epochs=2)(10) == 0.4


def test_milestones_are_epochs():
    rate = Schedule(1.0, epochs=10, steps=5, milestones=(4, 8), factor=0.1)
    assert [rate(i) for i in (0, 19, 20, 39, 40, 49)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_warm_up_of_less_than_a_step_has_no_effect():
    assert Schedule(1.0, epochs=1, steps=10, warmup_epochs=0.05)(0) == 1.0
    part = Schedule(1.0, epochs=1, steps=10, warmup_epochs=0.11)  # one step and a tenth of one
    assert [part(0), part(1)] == [pytest.approx(1 / 1.1), 1.0]
