"""What the addresses of lists hold: their filters, and the number of the row that a page begins behind."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

Text = Annotated[str, Field(max_length=500)]
LARGEST = 2**62
"""Numbers in addresses are not larger, so that every database can hold them."""
Id = Annotated[int, Path(ge=1, le=LARGEST)]


class Search(BaseModel):
    """What a list is filtered by; fields that are empty do not count."""

    after: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    """Only rows with a larger number: the next page."""
    before: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    """Only rows with a smaller number, in lists that begin with the newest."""

    @property
    def filters(self) -> dict[str, Any]:
        """The filters without the page."""
        return self.model_dump(exclude={"after", "before"})
