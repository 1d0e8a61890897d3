"""The exceptions of the editing package.

    EditingError
    ├── SpecError              the build spec cannot be read, or asks for something impossible
    ├── RequestError           an edit request that the tokenizer or the prompt does not allow
    ├── DataError              a file of facts, text or statistics cannot be used
    │   └── NoSuchFile         there is no file of that name
    ├── ModelError             a model directory cannot be loaded
    │   └── ArchitectureError  its architecture is not in the table, or cannot be edited
    ├── CheckpointError        a checkpoint directory cannot be written, read or switched to
    │   └── DamagedCheckpoint  its contents differ from its manifest
    ├── StorageError           a file cannot be written: no space, no permission, a lost file system
    ├── OutOfMemory            the smallest batch still does not fit
    ├── NumericalError         a value that is not finite, or a linear system without a solution
    ├── ClusterError           a cluster cannot be reached, or loses its workers again and again
    └── Stopped                SIGTERM was received, and the work stopped at a safe point

`SpecError`, `RequestError`, `DataError` and `ArchitectureError` mean that the input must change: retrying
does not help.  Every message says what was wrong, where, and what to do.  Torch-free.
"""

from __future__ import annotations

from typing import Literal

FailureKind = Literal["killed", "out_of_memory", "hung", "wrong_version", "bad_spec", "data", "internal"]
"""How a worker can fail, as used by the worker, the process that monitors it, and the record of attempts:

    killed         a signal ended the process
    out_of_memory  the smallest batch does not fit
    hung           the process sent no heartbeat for too long
    wrong_version  worker and daemon use different versions of the protocol
    bad_spec       the spec cannot be read, or asks for something impossible
    data           a file that the build depends on, or its report, cannot be used
    internal       anything else
"""
RequestFlaw = Literal["malformed", "label_special", "untokenised", "unsayable", "too_long", "conflict"]


class EditingError(Exception):
    """Base of all exceptions that this package raises on purpose."""


class SpecError(EditingError):
    """The build spec cannot be read, or asks for something impossible."""


class RequestError(EditingError):
    """An edit request that the tokenizer or the prompt does not allow.

    `code` is the kind of error: `malformed` (no subject, no target, or no place for the subject), `label_special`,
    `untokenised`, `unsayable`, `too_long` or `conflict`; `editing.spec.FailureCode` explains them.
    """

    def __init__(self, message: str, code: RequestFlaw = "malformed") -> None:
        super().__init__(message)
        self.code: RequestFlaw = code


class DataError(EditingError):
    """A file of facts, text or statistics that cannot be used."""


class NoSuchFile(DataError):
    """A file that should be read does not exist."""


class ModelError(EditingError):
    """A model directory that cannot be loaded."""


class ArchitectureError(ModelError):
    """The model's architecture is not in the table of parts, or cannot be edited."""


class CheckpointError(EditingError):
    """A checkpoint directory that cannot be written, read or switched to."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint whose contents differ from its manifest; the message names the file."""


class StorageError(EditingError):
    """A file that cannot be written: no space left, or no permission."""


class OutOfMemory(EditingError):
    """The smallest batch still does not fit in memory."""


class NumericalError(EditingError):
    """A value that is not finite, or a linear system without a solution."""


class ClusterError(EditingError):
    """A cluster that cannot be reached, or that loses its workers again and again; another attempt may succeed."""


class Stopped(EditingError):
    """The work was asked to stop and stopped at a safe point; finished work is kept."""
