"""Errors that a user can act on: each message names what is wrong, where, and what would be right."""

from dia.utils.secrets import hide_passwords


class DiaError(Exception):
    """Base of all errors that the command line prints as one message, without a traceback.

    Passwords in addresses never show in the message, whatever it was made from.
    """

    def __str__(self) -> str:
        return hide_passwords(super().__str__())


class ConfigError(DiaError):
    """A configuration value, key or combination that is not allowed."""


class VictimError(DiaError):
    """A victim set, or the source it is made from, is missing, damaged or unfit."""


class ModelError(DiaError):
    """A model cannot be built or cannot be attacked."""


class AttackError(DiaError):
    """An attack cannot go on (a non-finite loss, a missing device, ...)."""


class AttackInterrupted(AttackError):
    """An attack was told to stop and has saved its state; running the cell again continues it."""


class UpdateError(DiaError):
    """A client's update cannot be read, or cannot be attacked in the way it is described."""


class TrainingError(DiaError):
    """A model cannot be trained: it diverges, or there are too few images."""


class RecordError(DiaError):
    """A result file is damaged, foreign, or does not hold what it must."""


class TrackingError(DiaError):
    """The tracking store cannot be reached or written."""


class GoldenError(DiaError):
    """A golden run is missing, unreadable or incomplete."""


class CodeChangedError(DiaError):
    """The code was edited while a process imported it."""


class StorageError(DiaError, OSError):
    """A file cannot be written: a disk, quota or limit is full, or the place is not writable; nothing is left."""
