r"""String literals as Redshift reads them: a backslash escapes what follows it.

Redshift descends from PostgreSQL 8.0, whose literals take `\n`, `\t`, `\ddd` in octal, and any other character as
itself. Its guide shows the effect where it writes backslashes twice ("POSIX operators", "SIMILAR TO", QUOTE_LITERAL).
What COPY or a query sees is therefore another text than the one between the quotes: `'\N'` is `N`.
"""

from __future__ import annotations

import re

_PART = re.compile(r"""(?P<other>/\*.*?\*/|--[^\n]*|"(?:[^"]|"")*")|'(?P<literal>(?:[^'\\]|''|\\.)*)'""", re.DOTALL)
_ESCAPE = re.compile(r"''|\\([0-7]{1,3}|.)", re.DOTALL)
_NAMED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def resolve_escapes(sql: str, *, backslash: str = "\\") -> str:
    """Write every literal of a statement as standard SQL does, without escapes; comments and names stay as they are.

    Args:
        sql: one statement, as Redshift is given it.
        backslash: how a backslash that is left is spelled for the next reader of the statement.
    """

    def rewrite(part: re.Match[str]) -> str:
        if part["literal"] is None:
            return part[0]
        text = _ESCAPE.sub(_resolve, part["literal"])
        return "'" + text.replace("'", "''").replace("\\", backslash) + "'"

    return _PART.sub(rewrite, sql)


def _resolve(escape: re.Match[str]) -> str:
    escaped = escape[1]
    if escaped is None:
        return "'"
    return chr(int(escaped, 8)) if escaped[0] in "01234567" else _NAMED.get(escaped, escaped)
