"""Every error Railscribe raises, grouped by who can fix it.

Rules

1. One root, :class:`RailscribeError`. A class's docstring is its default message, so none is without words.
2. ``hint`` says what to do next; ``retryable`` whether the same call may succeed later.
3. No message carries what a user or a model wrote: content belongs to the audit store.
4. ``exit_code`` is the command line's: 2 wrong usage, 3 something outside failed, 1 a bug or a failed check.
"""

from __future__ import annotations

from typing import ClassVar

from railscribe.values import Cause


class RailscribeError(Exception):
    """Something went wrong in Railscribe."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.hint = hint

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message} {self.hint}" if self.hint else message


# The caller can fix these.
class UsageError(RailscribeError):
    """The call makes no sense as written."""

    exit_code = 2


class PolicyError(UsageError):
    """The policy document cannot be used."""


class ImageError(UsageError):
    """The image cannot be judged."""

    cause: ClassVar[Cause] = Cause.BAD_IMAGE


class TooManyImagesError(ImageError):
    """The image has too many frames to be judged."""

    cause = Cause.TOO_MANY_IMAGES


class ReviewerIsSubjectError(UsageError):
    """The reviewer is the person whom the record is about."""


# The operator can fix these.
class SettingsError(UsageError):
    """The settings contradict themselves or name something that does not exist."""


class MissingExtraError(RailscribeError):
    """A part of Railscribe needs a package that is not installed."""

    exit_code = 3


class AuditError(RailscribeError):
    """The audit store could not be used."""

    exit_code = 3


class SchemaRevisionError(AuditError):
    """The audit database is not at the revision this version of Railscribe works with."""


class DatabaseUnavailableError(AuditError):
    """The audit database cannot be written to now: it is away, locked, full or failing."""

    retryable = True


class ReadOnlyDatabaseError(DatabaseUnavailableError):
    """The audit database can only be read."""


class SpoolError(AuditError):
    """The spool, where entries wait for the database, could not be used."""


class NotRecordedError(AuditError):
    """Neither the audit database nor the spool took the entry, so nothing of it was kept."""

    retryable = True


class SigningKeyError(AuditError):
    """The key that checkpoints are signed with is missing, or is not the chain's."""


class ChainError(AuditError):
    """The chain of checkpoints is not as this writer left it."""


class ContentKeyError(AuditError):
    """A key that content is encrypted under could not be wrapped or unwrapped."""


class HeldError(RailscribeError):
    """A legal hold forbids to erase or prune this."""


class TagMovedError(RailscribeError):
    """The tag points elsewhere than was expected."""


# The engine, or the machine it runs on, can fix these. Each carries the cause its record will name.
class EngineError(RailscribeError):
    """The engine failed to give a reply."""

    exit_code = 3
    cause: ClassVar[Cause] = Cause.ENGINE_FAILED


class EngineTimeoutError(EngineError):
    """The engine gave no reply in time."""

    retryable = True
    cause = Cause.TIMEOUT


class EngineUnavailableError(EngineError):
    """The engine cannot be reached or loaded."""

    retryable = True
    cause = Cause.ENGINE_UNAVAILABLE


class EngineRefusedError(EngineError):
    """The engine rejected the request; sending it again will not help."""

    cause = Cause.ENGINE_REFUSED


class EngineProtocolError(EngineError):
    """The engine answered with something that is not a completion."""

    cause = Cause.ENGINE_PROTOCOL


class ContextLengthError(EngineError):
    """Policy and exchange together are longer than the engine can read."""

    cause = Cause.TOO_LONG


class ModalityError(EngineError):
    """The engine cannot judge this kind of content."""

    cause = Cause.MODALITY


class BadNumbersError(EngineError):
    """The model's output is not numbers; its weights or the machine's arithmetic are broken."""

    cause = Cause.BAD_NUMBERS


class OutOfMemoryError(EngineError):
    """There was not enough memory for this request."""

    retryable = True
    cause = Cause.OUT_OF_MEMORY


def without_content(error: BaseException) -> str:
    """Return what a log may say of *error*: our own words (rule 3), of a foreign one the type alone."""
    return str(error) if isinstance(error, RailscribeError) else f"a bug ({type(error).__name__})."


def cause_without_record(error: Exception) -> Cause:
    """Return why a check that ended in *error* decided nothing, and left no record."""
    return Cause.NOT_RECORDED if isinstance(error, NotRecordedError) else Cause.NOT_RUN
