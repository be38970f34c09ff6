"""Errors that a user can mend: one line that says what, where and what to do."""


class InputError(ValueError):
    """Bad input or setting. Commands print its message alone and exit with status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class InputWarning(UserWarning):
    """Input that is read but looks wrong. Commands print its message alone."""


class DivergedError(RuntimeError):
    """Training gave a loss that is not finite, or a network whose predictions are not. Commands exit with status 1."""


def printable(text: str) -> str:
    """The text with everything that would not print, as a line break in a file's name, written as an escape."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
