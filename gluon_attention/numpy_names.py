"""Names that numpy removed and MXNet 1.9.1, mxboard or GluonCV still use."""

from __future__ import annotations

import warnings
from operator import attrgetter
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


# Names that numpy 2 removed, and what they are called there.
_RENAMED = {
    **dict(NaN="nan", NAN="nan", Inf="inf", PINF="inf", Infinity="inf", infty="inf"),
    **dict(float_="float64", unicode_="str_", bool8="bool_", alltrue="all", sometrue="any"),
    **dict(product="prod", cumproduct="cumprod", round_="round", row_stack="vstack"),
}
REMOVED: Tuple[Removed, ...] = (
    *(
        Removed(kind.__name__, lambda numpy, kind=kind: kind, (1, 24))
        for kind in (bool, int, float, object, complex, str)
    ),
    *(Removed(old, attrgetter(new), (2, 0)) for old, new in _RENAMED.items()),
    Removed("PZERO", lambda numpy: 0.0, (2, 0)),
    Removed("NZERO", lambda numpy: -0.0, (2, 0)),
    Removed("NINF", lambda numpy: -numpy.inf, (2, 0)),
    Removed("msort", lambda numpy: lambda a: numpy.sort(a, axis=0), (2, 0)),
    Removed("in1d", lambda numpy: lambda a, b, **more: numpy.isin(a, b, **more).ravel(), (2, 4)),
    Removed("trapz", attrgetter("trapezoid"), (2, 4)),
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
