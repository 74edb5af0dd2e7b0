"""Read which warehouse a pipeline loads into, as whom, and who may read its tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from fastetl.config.model import Grantee, RedshiftTarget
from fastetl.config.toml_tables import Table
from fastetl.errors import Problem
from fastetl.identifiers import find_name_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fastetl.config.model import Pipeline

MIN_JOIN_AT, MAX_LOADS_AT_ONCE = 0.01, 50
"""With a smaller share, loads of a few seconds' changes would follow each other while the warehouse is awake; more
queries than 50 at once is what an automatic queue of Redshift refuses ("Quotas and limits in Amazon Redshift")."""

_EXCLUDES = {
    "workgroup": ("cluster", "db_user"), "cluster": ("workgroup",), "db_user": ("secret_arn",),
    "secret_arn": ("db_user",),
}  # fmt: skip
"""Settings of a warehouse, and what each takes the place of."""
_TARGET_TEXTS = ("database", "workgroup", "cluster", "db_user", "secret_arn", "iam_role", "load_user")


def _override(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings of a warehouse over others; a setting takes the place of those that exclude it."""
    displaced = {name for setting in above for name in _EXCLUDES.get(setting, ()) if name not in above}
    return {name: value for name, value in below.items() if name not in displaced} | dict(above)


def read_redshift(table: Table, shared: dict[str, Any], said: Mapping[str, str]) -> RedshiftTarget:
    """Read a pipeline's warehouse: what it says itself goes over what all share, and the environment over both.

    Args:
        table: `[pipelines.redshift]`.
        shared: the settings of `[redshift]`.
        said: what the environment says of a warehouse, by setting.
    """
    merged = Table(
        table.problems,
        _override(_override(shared, table.rest()), said),
        table.place,
    )
    target = RedshiftTarget(
        **{name: merged.take(name, str, getattr(RedshiftTarget(), name)) for name in _TARGET_TEXTS},
        grant_to=merged.parse("grant_to", (), _parse_grantees),
        join_at=merged.take("join_at", float, RedshiftTarget().join_at),
        loads_at_once=merged.take("loads_at_once", int, RedshiftTarget().loads_at_once),
    )
    merged.done()
    named = [("grant_to", each.name) for each in target.grant_to]
    for setting, name in (*named, ("load_user", target.load_user), ("database", target.database)):
        problem = find_name_problem(name) if name else ""
        if problem or "\\" in name:
            why = problem or f"{name!r} holds a backslash"
            merged.problem(merged.at(setting), why, "Name it as Redshift knows it")
    if not MIN_JOIN_AT <= target.join_at <= 1:
        remedy = f"Choose from {MIN_JOIN_AT} to 1; 1 has each pipeline load by itself"
        merged.problem(merged.at("join_at"), "out of range", remedy)
    if not 1 <= target.loads_at_once <= MAX_LOADS_AT_ONCE:
        merged.problem(merged.at("loads_at_once"), "out of range", f"Choose from 1 to {MAX_LOADS_AT_ONCE}")
    if bool(target.workgroup) == bool(target.cluster):
        remedy = "Name a workgroup (Redshift Serverless) or a cluster, or set FASTETL_REDSHIFT_WORKGROUP"
        merged.problem(merged.place, "exactly one of workgroup and cluster is needed", remedy)
    if target.db_user and not target.cluster:
        remedy = "Name the cluster, or leave it out: a workgroup knows its callers by their role"
        merged.problem(merged.at("db_user"), "a user of a cluster, and there is no cluster", remedy)
    if target.db_user and target.secret_arn:
        merged.problem(merged.at("db_user"), "db_user and secret_arn exclude each other", "Keep one")
    if target.iam_role != "default" and not re.fullmatch(
        r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", target.iam_role
    ):
        merged.problem(merged.at("iam_role"), "no role's ARN", 'Give an ARN, or "default"')
    return target


def _parse_grantees(value: Any) -> tuple[Grantee, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("a list of texts is needed")
    return tuple(_parse_grantee(each) for each in value)


def _parse_grantee(text: str) -> Grantee:
    kind, _, name = text.partition(":")
    if kind in {"role", "group", "user"} and name:
        return msgspec.convert({"kind": kind, "name": name}, Grantee)
    if not text or " " in text:
        raise ValueError(f'{text!r} is nobody: write "role:<name>", "group:<name>", or a user\'s name')
    # The names of IAM's users have a colon as well: IAM:alice.
    return Grantee("user", text)


def find_disagreements(pipelines: Sequence[Pipeline]) -> Iterator[Problem]:
    """Tell which pipelines would share one warehouse in different ways."""
    first: dict[str, tuple[int, Pipeline]] = {}
    for n, pipeline in enumerate(pipelines):
        m, other = first.setdefault(pipeline.redshift.warehouse, (n, pipeline))
        for setting in ("join_at", "loads_at_once"):
            here, there = getattr(pipeline.redshift, setting), getattr(other.redshift, setting)
            if here != there:
                message = f"{here} here and {there} at pipelines[{m}], in the same warehouse"
                yield Problem(f"pipelines[{n}].redshift.{setting}", message, "Set it once, in [redshift]")
