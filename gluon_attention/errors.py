"""The one error that is meant for people."""


class UserError(ValueError):
    """A mistake of the caller: one sentence that says what is wrong, what is accepted, what to do.

    Command lines print it without a traceback and exit with status 2.
    """
