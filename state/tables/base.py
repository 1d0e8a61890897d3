"""What all tables are made of: their base class and their kinds of column."""

from __future__ import annotations

from typing import Any, ClassVar, cast, get_args

from sqlalchemy import CheckConstraint, MetaData, Table, Text
from sqlmodel import Field, SQLModel

from state.columns import Big, UTCDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class LedgerTable(SQLModel):
    """Base of all tables: metadata of their own, with names that migrations can rely on."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING)


def table(row: type[LedgerTable]) -> Table:
    """The Core table behind a class."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]


def one_of(column: str, literal: Any) -> CheckConstraint:
    """A CHECK that `column` holds one of a Literal's words."""
    words = ", ".join(f"'{word}'" for word in get_args(literal))
    return CheckConstraint(f"{column} IN ({words})", name=column)


_field: Any = Field
"""SQLModel types `sa_type` as a class; a type with a variant is an instance."""


def key(*, foreign: str | None = None) -> Any:
    """A 64-bit primary key that the writer chooses."""
    extra = {"foreign_key": foreign} if foreign else {}
    return _field(sa_type=Big, primary_key=True, sa_column_kwargs={"autoincrement": False}, **extra)


def big(*, foreign: str | None = None, index: bool = False, nullable: bool = False) -> Any:
    """A 64-bit number that is no key of its own table: a reference, a revision, a count."""
    extra = {"foreign_key": foreign} if foreign else {}
    return _field(sa_type=Big, index=index, nullable=nullable, **extra)


def when(*, nullable: bool = False, default: str | None = None) -> Any:
    """An instant; `default`: what the database fills in for rows that were there before the column."""
    extra = {"sa_column_kwargs": {"server_default": default}} if default else {}
    return _field(sa_type=UTCDateTime, nullable=nullable, **extra)


def long(*, nullable: bool = False) -> Any:
    """Text without a length: JSON, messages."""
    return Field(sa_type=Text, nullable=nullable)
