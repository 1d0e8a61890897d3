"""Settings as they may be printed: without passwords, tokens and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "**********"
_SECRET_KEY = re.compile(
    r"(^|_)(password|passwd|secret|token|api_?key|credentials?|authorization)$", re.IGNORECASE
)
"""Keys whose value is a secret; `token_env` and `token_file` only name where a secret is."""
_USERINFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/?#\s]*@", re.IGNORECASE)
"""User and password in front of a URL's host (RFC 3986, section 3.2.1)."""
_PARAMETER = re.compile(
    r"(?P<name>[?&;](?:password|passwd|secret|token|api_?key|access_token|auth)=)[^&;\s]*", re.IGNORECASE
)


def redacted(value: Any) -> Any:
    """`value` (of JSON types) with secrets hidden: values of keys that name a secret, and secret parts of URLs."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if item and _SECRET_KEY.search(str(key)) else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        return _PARAMETER.sub(rf"\g<name>{HIDDEN}", _USERINFO.sub(rf"\g<scheme>{HIDDEN}@", value))
    return value
