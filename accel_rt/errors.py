"""Exceptions with a sentence for the user: what is wrong, the value got, what to do.

The command line prints the message as one line and exits with the class's ``exit_code``:
1 for a failure, 2 for a usage error. Library callers catch :class:`AccelError` for all.
"""


class AccelError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(AccelError, ValueError):
    """An argument is outside what the call accepts (unknown class, interval 0, bad shape)."""

    exit_code = 2


class InputError(AccelError):
    """A source cannot be opened or holds nothing that can be used."""


class OutputError(AccelError):
    """A result cannot be written (unwritable folder, full disk, missing encoder)."""


class WeightsError(AccelError):
    """A weight file is missing, damaged or does not fit the model."""
