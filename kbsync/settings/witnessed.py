"""`[witnessed.NAME]`: the logs of other kbsync that this one is a witness of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from kbsync.settings.section import Section
from state.cosignatures import WitnessKey
from state.errors import Damaged
from state.notes import PublicKey


def _log_key(text: str) -> str:
    try:
        return str(PublicKey.parse(text))
    except Damaged as error:
        raise ValueError(f"{error}: copy what `kbsync keys show` prints") from None


def _witness_key(text: str) -> str:
    try:
        return str(WitnessKey.parse(text))
    except Damaged as error:
        raise ValueError(f"{error}: copy what `kbsync keys show --witness` prints") from None


LogKey = Annotated[str, AfterValidator(_log_key)]
WitnessKeyText = Annotated[str, AfterValidator(_witness_key)]


class WitnessedSettings(Section):
    """A log whose heads are checked and cosigned at `/witness/add-checkpoint` of the pages, see
    [proofs.md](proofs.md#being-a-witness)."""

    origin: str = Field(
        min_length=1, description="the log's name, as `kbsync keys show` prints it there: `kbsync/…`"
    )
    keys: tuple[LogKey, ...] = Field(
        min_length=1, description="public keys that may sign its heads, `NAME+HASH+BASE64`"
    )
