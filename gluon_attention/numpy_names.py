"""Names that numpy removed and MXNet 1.9.1, mxboard or GluonCV still use."""

from __future__ import annotations

import warnings
from typing import Any, Callable, NamedTuple, Tuple

TESTED = (2, 5)  # newest numpy that the tests ran with


class Removed(NamedTuple):
    """A name of numpy, what it meant, and the version that removed it."""

    name: str
    value: Callable[[Any], Any]  # from the numpy module
    since: Tuple[int, int]


def _financial(name: str) -> Callable[[Any], Any]:
    """A stand-in for a financial function, which MXNet looks up and never calls."""

    def function(*arguments: Any, **options: Any) -> None:
        raise AttributeError(f"numpy.{name} was removed; use the package numpy_financial")

    return lambda numpy: function


REMOVED: Tuple[Removed, ...] = (
    Removed("bool", lambda numpy: bool, (1, 24)),
    Removed("int", lambda numpy: int, (1, 24)),
    Removed("float", lambda numpy: float, (1, 24)),
    Removed("object", lambda numpy: object, (1, 24)),
    Removed("complex", lambda numpy: complex, (1, 24)),
    Removed("str", lambda numpy: str, (1, 24)),
    Removed("PZERO", lambda numpy: 0.0, (2, 0)),
    Removed("NZERO", lambda numpy: -0.0, (2, 0)),
    Removed("NaN", lambda numpy: numpy.nan, (2, 0)),
    Removed("NAN", lambda numpy: numpy.nan, (2, 0)),
    Removed("Inf", lambda numpy: numpy.inf, (2, 0)),
    Removed("PINF", lambda numpy: numpy.inf, (2, 0)),
    Removed("NINF", lambda numpy: -numpy.inf, (2, 0)),
    Removed("Infinity", lambda numpy: numpy.inf, (2, 0)),
    Removed("infty", lambda numpy: numpy.inf, (2, 0)),
    Removed("float_", lambda numpy: numpy.float64, (2, 0)),
    Removed("unicode_", lambda numpy: numpy.str_, (2, 0)),
    Removed("bool8", lambda numpy: numpy.bool_, (2, 0)),
    Removed("alltrue", lambda numpy: numpy.all, (2, 0)),
    Removed("sometrue", lambda numpy: numpy.any, (2, 0)),
    Removed("product", lambda numpy: numpy.prod, (2, 0)),
    Removed("cumproduct", lambda numpy: numpy.cumprod, (2, 0)),
    Removed("round_", lambda numpy: numpy.round, (2, 0)),
    Removed("row_stack", lambda numpy: numpy.vstack, (2, 0)),
    Removed("in1d", lambda numpy: lambda a, b, **more: numpy.isin(a, b, **more).ravel(), (2, 4)),
    Removed("trapz", lambda numpy: numpy.trapezoid, (2, 4)),
    Removed("msort", lambda numpy: lambda a: numpy.sort(a, axis=0), (2, 0)),
    *(
        Removed(name, _financial(name), (2, 0))
        for name in "fv ipmt irr mirr nper npv pmt ppmt pv rate".split()
    ),
)


def restore(numpy: Any) -> None:
    """Set the removed names on a numpy module; warn if it is newer than the newest tested one."""
    version = tuple(int(part) for part in numpy.__version__.split(".")[:2])
    for name, value, since in REMOVED:
        # Not hasattr: numpy warns of deprecated names, and explains removed ones by an error.
        if version >= since and name not in vars(numpy):
            setattr(numpy, name, value(numpy))
    if version > TESTED:
        warnings.warn(
            f"numpy {numpy.__version__} is newer than {TESTED[0]}.{TESTED[1]}, the newest that "
            "MXNet 1.9.1 was tested with here",
            RuntimeWarning,
            stacklevel=2,
        )
