"""The steps that bring staged rows into several targets and their child tables, in few statements. Pure.

One transaction of the Data API has at most 40 statements (Amazon Redshift Management Guide, "Using the Amazon Redshift
Data API"), so that what targets share is done once: the newest change of each key is found for all of them, columns
that loads no longer write become NULL with the others, and one statement drops every temporary table.

A child table has a row for each element of a list of its parent's items. Its rows are replaced as a whole where a
version of the parent has won: they are deleted, and those of that very version inserted. So the parent's mirror alone
decides, and what comes late changes nothing.
"""

from __future__ import annotations

from fastetl.columns import SYSTEM_COLUMNS
from fastetl.config import Pipeline
from fastetl.model import Layout
from fastetl.sql.mirror import append_to_log, forget_deleted, is_known, merge_sql, merged_types
from fastetl.sql.staging import (
    STAGED,
    WINNERS,
    FormerColumnsByTarget,
    Load,
    leave_out_elements,
    locate,
    rank,
    see_own,
)
from fastetl.sql.text import list_names, quote_identifier, quote_literal, quote_table

_BY_KEY = 'DISTSTYLE KEY DISTKEY ("_key")'


def load_group(pipeline: Pipeline, load: Load) -> tuple[list[tuple[str, str]], list[str]]:
    """Build the steps of all targets of a pipeline with several.

    Args:
        pipeline: its targets.
        load: the layout of the files.

    Returns:
        The steps, and the temporary tables that they leave, quoted.
    """
    logs = [part for part in pipeline.parts if "log" in part.outputs]
    logged = [step for part in logs for step in append_to_log(part, see_own(pipeline, part, load.layout), load)]
    merges, tables = group_steps(pipeline, load.layout, load.former_columns)
    return [*logged, *merges], tables


def group_steps(
    pipeline: Pipeline, layout: Layout, former_columns: FormerColumnsByTarget
) -> tuple[list[tuple[str, str]], list[str]]:
    """Build the steps that merge staged rows into all mirrors and child tables.

    Args:
        pipeline: its targets.
        layout: of the staged rows.
        former_columns: they are NULL in every row that is written.

    Returns:
        As `load_group`.
    """
    mirrored = [part for part in pipeline.parts if "mirror" in part.outputs and not part.rows_of]
    if not mirrored:
        return [], []
    steps = [("winners", _find_winners(pipeline, layout))]
    tables = [WINNERS]
    former = dict(former_columns)
    for number, part in enumerate(mirrored, 1):
        won = quote_identifier(f"fastetl_won_{number}")
        tables.append(won)
        steps += _merge(pipeline, part, won, layout, former.get(part.name, ()))
        children = pipeline.children(part.name)
        steps += [step for child in children for step in _replace_elements(part, child, won, layout)]
    return steps, tables


def _find_winners(pipeline: Pipeline, layout: Layout) -> str:
    """Build the statement that finds the newest staged change of each key, whichever target it belongs to."""
    names, only = [name for name, _ in layout.columns], leave_out_elements(layout)
    rows = f"{STAGED} WHERE {only}" if only else STAGED
    ranked = rank(names, rows, partition="_key", order='"_version" DESC, "_file"')
    return (
        f'CREATE TEMP TABLE {WINNERS} {_BY_KEY} AS SELECT {list_names(names, of="ranked")} FROM ({ranked}) AS "ranked"'
        f' WHERE "ranked"."_rank" = 1 AND {is_known(pipeline)}'
    )


def _merge(
    pipeline: Pipeline, part: Pipeline, won: str, layout: Layout, former_columns: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Build the steps of one mirror: what is newer than it, and the MERGE of that."""
    staged = see_own(pipeline, part, layout, WINNERS, alias="ranked")
    types = merged_types(part, staged)
    values = {name: f"CAST(NULL AS {kind})" for name, kind in types.items()}
    values |= forget_deleted(part, types, staged.names)
    # The mirror's own column gives NULL its type.
    values |= {name: f'CASE WHEN FALSE THEN "mirror".{quote_identifier(name)} END' for name in former_columns}
    chosen = ", ".join(f"{value} AS {quote_identifier(name)}" for name, value in values.items())
    create = (
        f"CREATE TEMP TABLE {won} {_BY_KEY} AS SELECT {chosen} FROM {staged.rows}"
        f' LEFT JOIN {quote_table(part)} AS "mirror" ON "ranked"."_key" = "mirror"."_key"'
        ' WHERE "mirror"."_key" IS NULL OR "mirror"."_version" < "ranked"."_version"'
    )
    return [("won", create), ("merge", merge_sql(part, won, list(values)))]


def _replace_elements(parent: Pipeline, child: Pipeline, won: str, layout: Layout) -> list[tuple[str, str]]:
    """Build the steps that replace the rows of a child table, for the items of which a version has won."""
    table = quote_table(child)
    located, names, _ = locate(child, layout)
    of_item = {name for name, _ in SYSTEM_COLUMNS}
    values = ", ".join(
        f'"won".{quote_identifier(name)}' if name in of_item else f'"staged".{quote_identifier(located[name])}'
        for name in names
    )
    kept = ", ".join(map(quote_literal, parent.kept_deletes))
    stays = f'(NOT "won"."_deleted" OR "won"."_op" IN ({kept}))' if kept else 'NOT "won"."_deleted"'
    delete = f'DELETE FROM {table} WHERE "_key" IN (SELECT "_key" FROM {won})'
    # A change that came twice is in two files: the winner names one of them.
    insert = (
        f'INSERT INTO {table} ({list_names(names)}) SELECT {values} FROM {STAGED} AS "staged"'
        f' JOIN {won} AS "won" ON "staged"."_key" = "won"."_key" AND "staged"."_version" = "won"."_version"'
        f' AND "staged"."_file" = "won"."_file"'
        f' WHERE "staged"."_target" = {quote_literal(child.name)} AND {stays}'
    )
    return [("elements_gone", delete), ("elements", insert)]
