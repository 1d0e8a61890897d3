"""Licences, written as SPDX expressions: `CC0-1.0`, `MIT OR Apache-2.0`, `LicenseRef-our-contract`.

The form is that of the SPDX specification, annex D; whether an identifier is on SPDX's list is not checked.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_ID = r"\(*[A-Za-z0-9][A-Za-z0-9.:-]*\+?\)*"
_EXPRESSION = re.compile(rf"{_ID}( (AND|OR|WITH) {_ID})*", re.ASCII)
_LONGEST = 200


def _checked(text: str) -> str:
    if len(text) > _LONGEST or not _EXPRESSION.fullmatch(text):
        raise ValueError(
            "is not an SPDX licence expression, such as CC0-1.0, CC-BY-4.0 or LicenseRef-our-contract"
        )
    return text


Licence = Annotated[str, AfterValidator(_checked)]
"""A setting that is an SPDX licence expression."""
