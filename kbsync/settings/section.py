"""What every section of the settings has in common, and the addresses that several of them contain."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A table of `kbsync.toml`: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8787` or `[::1]:8787` as host and port; raises ValueError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(
            f"{listen!r} is not an address: write host:port, such as 127.0.0.1:8787 or [::1]:8787"
        )
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _checked_address(listen: str) -> str:
    split_address(listen)
    return listen


Address = Annotated[str, AfterValidator(_checked_address)]
"""A setting that `split_address` reads."""
