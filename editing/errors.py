"""Everything that can go wrong in the editing room.

    EditingError
    ├── SpecError              the build spec cannot be read, or asks for something impossible
    ├── RequestError           an edit request the tokenizer or the prompt does not allow
    ├── DataError              a file of facts, text or statistics cannot be used
    ├── ModelError             a model directory cannot be loaded
    │   └── ArchitectureError  its architecture is not in the table, or cannot be edited
    ├── CheckpointError        a checkpoint directory cannot be written, read or switched to
    │   └── DamagedCheckpoint  its contents differ from its manifest
    ├── StorageError           a file cannot be written: no space, no permission, a lost file system
    ├── OutOfMemory            the smallest batch still does not fit
    ├── NumericalError         a value that is not finite, or a system that has no solution
    └── Stopped                asked to stop (SIGTERM), and stopped at a safe point

`SpecError`, `RequestError`, `DataError` and `ArchitectureError` say that the input must change:
trying again is pointless.  Every message says what was wrong, where, and what to do.  Torch-free.
"""

from __future__ import annotations

from typing import Literal

FailureKind = Literal["killed", "out_of_memory", "hung", "wrong_version", "bad_spec", "data", "internal"]
"""How a worker can fail, for the worker itself, for whoever watches it, and for the record of attempts:

    killed         a signal ended the process
    out_of_memory  the smallest batch does not fit
    hung           the process gave no sign of life for too long
    wrong_version  worker and daemon speak different versions of the protocol
    bad_spec       the spec cannot be read, or asks for something impossible
    data           a file that the build depends on, or its report, cannot be used
    internal       anything else
"""
RequestFlaw = Literal["malformed", "label_special", "untokenised", "unsayable", "too_long", "conflict"]


class EditingError(Exception):
    """Base of all errors raised on purpose in this room."""


class SpecError(EditingError):
    """The build spec cannot be read, or asks for something impossible."""


class RequestError(EditingError):
    """An edit request that the tokenizer or the prompt does not allow.

    `code` says of what kind: `malformed` (no subject, no target, no place for it), `label_special`,
    `untokenised`, `unsayable`, `too_long` or `conflict`; `editing.spec.FailureCode` explains them.
    """

    def __init__(self, message: str, code: RequestFlaw = "malformed") -> None:
        super().__init__(message)
        self.code: RequestFlaw = code


class DataError(EditingError):
    """A file of facts, text or statistics that cannot be used."""


class ModelError(EditingError):
    """A model directory that cannot be loaded."""


class ArchitectureError(ModelError):
    """The model's architecture is not in the table of parts, or cannot be edited."""


class CheckpointError(EditingError):
    """A checkpoint directory that cannot be written, read or switched to."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint whose contents differ from its manifest; the message names the file."""


class StorageError(EditingError):
    """A file that cannot be written: no space is left, or it is not allowed."""


class OutOfMemory(EditingError):
    """The smallest batch still does not fit in memory."""


class NumericalError(EditingError):
    """A value that is not finite, or a linear system without a solution."""


class Stopped(EditingError):
    """Asked to stop, and stopped at a safe point; what was finished is kept."""
