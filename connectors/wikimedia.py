"""What Wikimedia asks of its clients: https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_HOSTS = re.compile(r"(?:.+\.)?(?:wikidata|wikimedia|wikipedia|mediawiki)\.org")
_CONTACT_HOST = re.compile(r"[^@\s]+@([^@\s()<>,;]+)|https?://([^\s/()<>,;:]+)")
_RESERVED = re.compile(r"(?:.+\.)?(?:example\.(?:com|net|org)|example|test|invalid|localhost)")
"""Names for documentation (RFC 2606), at which nobody can be reached."""


def wikimedia_without_contact(settings: Mapping[str, Any]) -> str | None:
    """The first address among a source's settings that is Wikimedia's, if its agent names nobody who can be reached."""
    addresses = (value for value in settings.values() if isinstance(value, str) and "://" in value)
    asked = next((one for one in addresses if _HOSTS.fullmatch((urlsplit(one).hostname or "").lower())), None)
    if asked is None or "agent" not in settings:
        return None
    found = _CONTACT_HOST.findall(str(settings["agent"]))
    hosts = [(mail or page).lower().rstrip(".") for mail, page in found]
    return None if any(not _RESERVED.fullmatch(host) for host in hosts) else asked
