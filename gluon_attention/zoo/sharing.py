"""Parameters shared by two networks through `params=`, also where some are frozen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional

from mxnet import gluon

from ..errors import UserError


@contextmanager
def shared(params: Optional[gluon.ParameterDict]) -> Iterator[None]:
    """Let a network built inside share these parameters; frozen ones stay frozen."""
    if params is None:
        yield
        return
    before = {parameter: parameter._grad_req for parameter in params.values()}
    for parameter in before:
        if parameter._differentiable:  # Gluon compares this with what a new layer would have
            parameter._grad_req = "write"
    try:
        yield
    except AssertionError as error:
        raise UserError(f"params are of another network: {' '.join(str(error).split())}") from None
    finally:
        for parameter, request in before.items():
            if parameter._grad_req != "null":  # not frozen by the new network
                parameter._grad_req = request
