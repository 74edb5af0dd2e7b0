"""COPY, emulated: fields checked as Redshift checks them, load errors kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import msgspec

from fastetl.columns import RedshiftType
from fastetl.limits import MAX_COPY_ROW_BYTES
from fastetl.local.warehouse.copy_command import CopyCommand
from fastetl.local.warehouse.copy_source import S3Client, UnreadableObjectError, find_urls, read_object
from fastetl.local.warehouse.copy_values import FieldError, convert_column
from fastetl.local.warehouse.engine import Session, SqlError


class LoadError(msgspec.Struct, frozen=True):
    """One line of SYS_LOAD_ERROR_DETAIL, as far as COPY knows it."""

    file_name: str
    line_number: int
    column_name: str
    column_type: str
    column_length: str
    position: int
    error_code: int
    error_message: str


class CopyFailedError(SqlError):
    """More rows could not be loaded than MAXERROR lets pass."""

    def __init__(self, message: str, errors: Sequence[LoadError]) -> None:
        self.errors = tuple(errors)
        super().__init__(message)


def copy(command: CopyCommand, session: Session, s3: S3Client) -> tuple[int, tuple[LoadError, ...]]:
    """Load every file that the command names, in the session's transaction.

    Returns:
        How many rows were loaded, and the rows that MAXERROR let fall.

    Raises:
        CopyFailedError: too many rows could not be loaded; what was inserted is for the caller to roll back.
        SqlError: the table, a column or an object does not exist.
    """
    columns = _target_columns(command, session)
    errors: list[LoadError] = []
    loaded = 0
    for url in find_urls(command, s3):
        try:
            rows, failed = _read_file(read_object(command, s3, url), url, command, columns)
        except UnreadableObjectError as error:
            rows, failed = [], [LoadError(url, 0, "", "", "", 0, 1216, str(error))]
        errors += failed
        # 0 and 1 mean the same: the first error ends the load.
        if errors and len(errors) >= command.max_error:
            check = "Check 'sys_load_error_detail' system table for details."
            raise CopyFailedError(f"Load into table '{command.table.name}' failed.  {check}", errors)
        session.insert(command.table, columns, rows)
        loaded += len(rows)
    return loaded, tuple(errors)


def _target_columns(command: CopyCommand, session: Session) -> tuple[tuple[str, RedshiftType], ...]:
    types = session.column_types(command.table)
    if not types:
        raise SqlError(f'Cannot COPY into nonexistent table "{command.table.name}"')
    names = command.columns or tuple(types)
    for name in names:
        if name not in types or names.count(name) > 1:
            raise SqlError(f'column "{name}" of relation "{command.table.name}" does not exist, or is named twice')
    return tuple((name, types[name]) for name in names)


def _read_file(
    content: bytes, url: str, command: CopyCommand, columns: tuple[tuple[str, RedshiftType], ...]
) -> tuple[list[tuple[str | None, ...]], list[LoadError]]:
    """Split a file into rows and check them; a row with an error is left out."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        sequence = f"Bad UTF-8 hex sequence: {content[error.start]:x}"
        why = f"String contains invalid or unsupported UTF-8 codepoints. {sequence}"
        return [], [LoadError(url, line, "", "", "", error.start, 1220, why)]
    errors: list[LoadError] = []
    # Tuples of text, unlike lists, are no work for the garbage collector.
    lines: list[tuple[int, tuple[str, ...]]] = []
    for line, fields in _lines(text, url, command, errors):
        if len(fields) != len(columns):
            errors.append(_miscounted(url, line, len(fields), columns))
        elif sum(map(len, fields)) > MAX_COPY_ROW_BYTES:
            errors.append(LoadError(url, line, "", "", "", 0, 1216, "The row is longer than 4 MB"))
        else:
            lines.append((line, tuple(fields)))
    if not lines:
        return [], errors
    try:
        # Column by column is several times faster than row by row, which is kept for files that have an error.
        by_column = zip(columns, zip(*(fields for _, fields in lines), strict=True), strict=True)
        converted = [convert_column(kind, command.null_marker, fields) for (_, kind), fields in by_column]
        return list(zip(*converted, strict=True)), errors
    except FieldError:
        return _read_row_by_row(lines, url, command, columns, errors)


def _read_row_by_row(
    lines: Sequence[tuple[int, tuple[str, ...]]],
    url: str,
    command: CopyCommand,
    columns: Sequence[tuple[str, RedshiftType]],
    errors: list[LoadError],
) -> tuple[list[tuple[str | None, ...]], list[LoadError]]:
    rows: list[tuple[str | None, ...]] = []
    for line, fields in lines:
        row: list[str | None] = []
        try:
            for (_, kind), field in zip(columns, fields, strict=True):
                row += convert_column(kind, command.null_marker, [field])
        except FieldError as error:
            name, kind = columns[len(row)]
            errors.append(LoadError(url, line, name, *_described(kind), 0, error.code, str(error)))
        else:
            rows.append(tuple(row))
    return rows, sorted(errors, key=lambda error: error.line_number)


def _lines(text: str, url: str, command: CopyCommand, errors: list[LoadError]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the number of the line that they begin on; what is no CSV ends the file with an error."""
    # The csv module's own limit is the process's, and lower.
    csv.field_size_limit(2 * MAX_COPY_ROW_BYTES)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=command.delimiter, quotechar=command.quote, strict=True)
    begins = 1
    try:
        for fields in reader:
            if begins > command.ignore_header:
                yield begins, fields or [""]
            begins = reader.line_num + 1
    except csv.Error as error:
        errors.append(LoadError(url, begins, "", "", "", 0, 1216, f"Invalid quote formatting for CSV: {error}"))


def _miscounted(url: str, line: int, found: int, columns: Sequence[tuple[str, RedshiftType]]) -> LoadError:
    if found > len(columns):
        return LoadError(url, line, "", "", "", 0, 1202, "Extra column(s) found")
    name, kind = columns[found]
    return LoadError(url, line, name, *_described(kind), 0, 1213 if found else 1211, "Delimiter not found")


def _described(kind: RedshiftType) -> tuple[str, str]:
    """Give type and length as SYS_LOAD_ERROR_DETAIL shows them."""
    length = f"{kind.precision},{kind.scale}" if kind.kind == "DECIMAL" else str(kind.length or "")
    return kind.kind.lower(), length
