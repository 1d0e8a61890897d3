"""What Wikimedia asks of its clients: https://foundation.wikimedia.org/wiki/Policy:User-Agent_policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

_HOSTS = re.compile(r"(?:.+\.)?(?:wikidata|wikimedia|wikipedia|mediawiki)\.org")
_CONTACT_HOST = re.compile(r"[^@\s]+@([^@\s()<>,;]+)|https?://([^\s/()<>,;:]+)")
_RESERVED = re.compile(r"(?:.+\.)?(?:example\.(?:com|net|org)|example|test|invalid|localhost)")
"""Names for documentation (RFC 2606), at which nobody can be reached."""


def contact_problems(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the agent of a source with an address of Wikimedia's, and what to do about it."""
    addresses = (value for value in settings.values() if isinstance(value, str) and "://" in value)
    asked = next((one for one in addresses if _HOSTS.fullmatch((urlsplit(one).hostname or "").lower())), None)
    if asked is None or "agent" not in settings:
        return
    found = _CONTACT_HOST.findall(str(settings["agent"]))
    hosts = [(mail or page).lower().rstrip(".") for mail, page in found]
    if all(_RESERVED.fullmatch(host) for host in hosts):
        yield (
            f"{asked} is Wikimedia's, whose User-Agent policy asks for a way to reach you; the agent has only an "
            "example's",
            "put your e-mail address or the URL of a page about your installation into `agent`",
        )
