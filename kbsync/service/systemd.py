"""Status notifications for the service manager, as sd_notify(3) datagrams; none are sent without a socket."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta

import structlog

log = structlog.get_logger()


def notify(message: str) -> None:
    """Send `READY=1`, `WATCHDOG=1`, `STATUS=…` or another message to $NOTIFY_SOCKET, if it is set.

    A service manager that cannot be reached is logged; whether it then ends the service is its own decision.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(message.encode())
    except OSError as error:
        log.warning("systemd.not_notified", message=message.split("=", 1)[0], reason=str(error))


def extend_timeout(time_needed: timedelta) -> None:
    """Ask for this much time, from now on, until the current start, reload or stop is complete."""
    notify(f"EXTEND_TIMEOUT_USEC={round(time_needed.total_seconds() * 1_000_000)}")


def reloading() -> None:
    """Announce a reload, which the next `READY=1` completes."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
