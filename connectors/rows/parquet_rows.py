"""Rows of Parquet files, read within limits that a malicious file cannot bypass.

A few kilobytes of Parquet can refer to one long text from a million rows, or contain pages that decompress
to gigabytes.  So the declared sizes are checked first, texts stay in their dictionary until their length
is known, and rows are created a few hundred at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from connectors.border import MAX_TEXT, Unusable, escaped, shown
from connectors.errors import SourceDataError, SourceSettingsError
from connectors.rows.columns import MAX_NAMES, Numbered, require_columns

_BATCH = 500
"""Rows made at once."""


def parquet_rows(
    data: bytes, wanted: Collection[str], required: Collection[str], most_bytes: int
) -> Iterator[Numbered]:
    """The rows of a file, with only the columns that are wanted; they are numbered from 1.

    Raises SourceSettingsError without pyarrow, SourceDataError for what is no Parquet, declares more than
    `most_bytes`, or lacks a column.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SourceSettingsError("Parquet needs `pip install kbsync[parquet]`") from error
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        schema = file.schema_arrow
        require_columns(required, schema.names)
        columns = [name for name in schema.names if name in wanted]
        _require_bounds(file.metadata, most_bytes)
        if twice := [name for name in columns if schema.names.count(name) > 1]:
            raise SourceDataError(f"the schema names {shown(twice[0])} twice")
        texts = [name for name in columns if _is_text(schema.field(name).type)]
        file = parquet.ParquetFile(pyarrow.BufferReader(data), read_dictionary=texts)
        number = 0
        for batch in file.iter_batches(_BATCH, columns=columns):
            cells = [_cells(batch.column(name)) for name in columns]
            for row in zip(*cells, strict=True):
                number += 1
                yield number, dict(zip(columns, row, strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise SourceDataError(f"not valid Parquet: {escaped(error)}") from error


def _require_bounds(metadata: Any, most_bytes: int) -> None:
    """By row group: to look at the column chunks of a damaged file ends the process in pyarrow."""
    groups = range(metadata.num_row_groups)
    total = sum(max(0, metadata.row_group(group).total_byte_size) for group in groups)
    if total > most_bytes:
        raise SourceDataError(f"{total} bytes of data; at most {most_bytes} are read")


def _is_text(type_: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(type_) or types.is_binary(type_))


def _cells(column: Any) -> list[Any]:
    """A column's cells as Python values; a cell without one is Unusable, which rejects its row."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        return _from_dictionary(column)
    if _is_text(column.type) or types.is_large_string(column.type) or types.is_large_binary(column.type):
        return [_text(value) for value in column]
    if types.is_list(column.type):
        return [_list(value) for value in column]
    if types.is_nested(column.type):
        return [Unusable(f"a value of type {type(column.type).__name__}")] * len(column)
    if types.is_timestamp(column.type):
        # Nanoseconds are beyond a datetime, and zones may be unknown here: stored is UTC.
        column = compute.cast(column, _microseconds(column.type.tz), safe=False)
    return [_value(value) for value in column]


def _microseconds(zone: str | None) -> Any:
    import pyarrow

    return pyarrow.timestamp("us", tz="UTC" if zone else None)


def _from_dictionary(column: Any) -> list[Any]:
    indices = column.indices.to_pylist()
    # Those that this batch refers to: a dictionary may be as long as its row group.
    used = set(indices) - {None}
    if any(not 0 <= index < len(column.dictionary) for index in used):
        raise ValueError("a dictionary does not hold what its column refers to")
    convert = _text if _is_text(column.type.value_type) else _value
    values = {index: convert(column.dictionary[index]) for index in used}
    return [None if index is None else values[index] for index in indices]


def _text(value: Any) -> Any:
    """A text of acceptable length; its length is checked before it is copied."""
    if not value.is_valid:
        return None
    size = value.as_buffer().size
    return Unusable(f"a text of {size} bytes") if size > 4 * MAX_TEXT else value.as_py()


def _list(value: Any) -> Any:
    if not value.is_valid:
        return None
    items = value.values
    if not _is_text(items.type) or len(items) > MAX_NAMES:
        return Unusable(f"a list of {len(items)} values of type {items.type}")
    return [_text(item) for item in items]


def _value(value: Any) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return Unusable(f"a {value.type} that is outside the calendar")
