"""Names that numpy removed, given back to what still uses them."""

from __future__ import annotations

import types
import warnings

from gluon_attention import numpy_names

import numpy as np
import pytest


@pytest.mark.parametrize("removed", numpy_names.REMOVED, ids=lambda removed: removed.name)
def test_this_numpy_has_every_name_that_it_removed(removed: numpy_names.Removed) -> None:
    version = tuple(int(part) for part in np.__version__.split(".")[:2])
    assert version < removed.since or removed.name in vars(np)


def test_names_that_exist_are_kept() -> None:
    numpy = types.SimpleNamespace(__version__="1.26.4", float="kept")
    numpy_names.restore(numpy)
    assert (numpy.bool, numpy.int, numpy.object, numpy.float) == (bool, int, object, "kept")
    assert not hasattr(numpy, "NaN")  # removed by numpy 2


def test_a_newer_numpy_is_used_with_a_warning() -> None:
    numpy = types.SimpleNamespace(**{**vars(np), "__version__": "9.0.1"})
    if np.__version__ < "2.":  # what numpy 2 calls them
        numpy.trapezoid = np.trapz
    with pytest.warns(RuntimeWarning, match="9.0.1"):
        numpy_names.restore(numpy)


def test_replacements_compute_what_numpy_1_did() -> None:
    numpy = types.SimpleNamespace(**vars(np))
    if np.__version__ < "2.":
        numpy.trapezoid = np.trapz
    values = {entry.name: entry.value(numpy) for entry in numpy_names.REMOVED}
    matrix = np.array([[3.0, 1.0], [2.0, 4.0]])
    assert values["product"](matrix) == 24 and values["alltrue"](matrix > 0)
    assert values["msort"](matrix).tolist() == [[2, 1], [3, 4]]
    assert values["in1d"](matrix, [1, 4]).tolist() == [False, True, False, True]
    assert values["NINF"] == -np.inf and values["float_"] is np.float64
    with pytest.raises(AttributeError, match="numpy_financial"):
        values["pmt"](1, 2, 3)


def test_warnings_stay_away_from_a_tested_numpy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numpy_names.restore(np)
