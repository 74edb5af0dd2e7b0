"""Tell from the step that failed, and from Redshift's message, what made an attempt fail. Pure.

A file goes into quarantine only for a message that is known to be about the data. Every unknown message counts as a
failure of the infrastructure: the pipeline pauses, says why, and tries again. `tests/load/redshift_messages.toml` holds
the messages that AWS's documents and public issue threads quote, each with its source and what it is taken for.
"""

from __future__ import annotations

import re

from fastetl.model import Failure

_CAST = re.compile(r"invalid input syntax|invalid digit", re.IGNORECASE)
"""How fastetl's own refusals fail: each is a cast of a text that is no number (`sql/load.py`)."""

_DATA = re.compile(
    r"load into table .* failed|(?:stl_load_errors|sys_load_error_detail)"
    r"|specified key does not exist|NoSuchKey|specified s3 prefix .* does not exist|mandatory url is not present"
    r"|failed to inflate|invalid digit|string length exceeds|utf-?8",
    re.IGNORECASE | re.DOTALL,
)
"""COPY found a row that does not fit, an object that is damaged, or none where the manifest names one."""

_UNREADABLE = re.compile(r"Access ?Denied,Status 403|Error AccessDenied|\bKMS\b|\bkms:", re.IGNORECASE)
"""COPY may not read an object: for want of a permission, or of the key with which the object is encrypted."""

_READ = re.compile(r"S3 key being read\s*:\s*s3://\S*/([^\s/.]+)")
"""The object that COPY was reading, as its messages name it; its name begins with the file's id."""

_ARCHIVED = re.compile(r"InvalidObjectState|not valid for the (?:source )?object's storage class", re.IGNORECASE)

_TRANSIENT = re.compile(
    r"\b1023\b|serializ|concurrent transaction|deadlock|could not open relation with oid"
    r"|terminat|connection|timed? ?out|restart|cancel|SlowDown|reduce your request rate|Status 50\d|CurlException"
    # The manifest and the list of files are written again before the next attempt.
    r"|problem reading manifest",
    re.IGNORECASE,
)

_REFUSALS: dict[str, Failure] = {"gate_batch": "gate", "gate_fence": "gate", "gate_files": "files", "count": "data"}
"""The steps that fail on purpose, and what their failure means."""

_READS_OWN_LIST = "copy_files"

_EXPLAINED = {
    "gate_source": "its changes come from another source than those that are loaded (a replica, or Kinesis in place of"
    " DynamoDB Streams, or the other way round), and nothing orders the two: run `fastetl resync`",
    "gate_row": (
        "another stack owns the target, or its gate table has no row any more: `fastetl ddl --apply` names the owner,"
        " or writes the row again; with `--take-over` this stack becomes the owner"
    ),
    "set_back": "the warehouse was set back, and lacks loads that the ledger knows: run `fastetl rebuild-ledger`, and"
    " again what failed",
    "stamps": (
        "changes are stamped with an epoch before their own, so that the mirror would ignore them, or the warehouse was"
        " set back, and lacks epochs or loads that the ledger knows: run `fastetl rebuild-ledger` and `fastetl resume`,"
        " and, if they are refused again, `fastetl resync`"
    ),
}
"""What an operator reads in place of a refusal that pauses the pipeline, by the step that failed."""


def classify(step: str, error: str, *, named: bool) -> Failure:
    """Tell what made an attempt fail.

    Args:
        step: the statement that failed, as `sql.load_sql` names it; empty where none is named.
        error: Redshift's message; empty where nothing is known of the attempt any more.
        named: whether the warehouse's load errors name a file of the batch.

    Returns:
        `transient` where the same attempt may succeed with nothing mended; `infrastructure` where nothing else is
        known. A message about the data, or about one object, counts only at COPY.
    """
    if not error or _TRANSIENT.search(error):
        return "transient"
    if _ARCHIVED.search(error):
        return "archived"
    if step == "copy" and _UNREADABLE.search(error):
        return "unreadable"
    if step in _REFUSALS and _CAST.search(error):
        return _REFUSALS[step]
    if step == "copy" and (named or _DATA.search(error)):
        return "data"
    if step == _READS_OWN_LIST and _DATA.search(error):
        return "transient"
    return "infrastructure"


def explain(step: str, error: str) -> str:
    """Say in words, with the remedy, what a refusal of fastetl's own means; any other error stays as it is.

    Args:
        step: the statement that failed.
        error: Redshift's message.
    """
    return _EXPLAINED.get(step, error) if _CAST.search(error) else error


def find_file_read(error: str) -> str:
    """Find the id of the file that COPY was reading when it failed; empty where the message names none."""
    found = _READ.search(error)
    return found[1] if found else ""


def describe_load_error(file: str, line: str, column: str, code: str, message: str) -> str:
    """Write a row of SYS_LOAD_ERROR_DETAIL as one line; its message may quote a value."""
    return f"{file}, line {line}, column {column or '-'}: {code} {message}"
