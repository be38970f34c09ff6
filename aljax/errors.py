"""Errors that a user can mend: one line that says what, where and what to do."""


class InputError(ValueError):
    """Bad input or setting. Commands print its message alone and exit with status 2."""


class NonFiniteLossError(RuntimeError):
    """Training produced a loss that is not a number."""
