"""Where facts come from: one module per kind of source, all yielding the types of `observations`.

    from connectors import connect

    source = connect("wikidata", {"kind": "wikidata", "endpoint": …, "agent": …, "subjects": ["wd:Q38"], …})
    for step in source.poll(cursor=None):
        store(step.observations, step.cursor)      # in one transaction

The names below are the package's public API.  They are imported on first use, so that importing the
plain types does not import an HTTP library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.clock import Clock
    from connectors.errors import ConnectorError
    from connectors.observations import Connector, Entity, Health, Observation, Poll, Statement, Triple
    from connectors.registry import connect, kinds
    from connectors.settings import Context

__all__ = [
    "Clock",
    "Connector",
    "ConnectorError",
    "Context",
    "Entity",
    "Health",
    "Observation",
    "Poll",
    "Statement",
    "Triple",
    "connect",
    "kinds",
]

_HOME = {
    "Clock": "clock",
    "ConnectorError": "errors",
    "Context": "settings",
    "connect": "registry",
    "kinds": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'connectors' has no attribute {name!r}")
    return getattr(import_module(f"connectors.{_HOME.get(name, 'observations')}"), name)
