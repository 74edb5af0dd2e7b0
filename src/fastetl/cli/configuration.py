"""`fastetl check` and `fastetl ddl`: what a configuration says, and the SQL that it asks for."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Annotated

import orjson
import typer

from fastetl.cli.enrichment import build_enricher
from fastetl.cli.output import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigPath,
    PipelineName,
    choose_pipeline,
    echo_json,
    problems,
    read_config,
    results,
)
from fastetl.cli.reach import Reach, run
from fastetl.config import Pipeline
from fastetl.limits import MAX_STATEMENTS
from fastetl.operate import Finding, Verdict
from fastetl.sql import ddl_sql


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(ddl)
    app.command()(verify_account)


def check(
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
    no_enrichments: Annotated[bool, typer.Option(help="Leave enrichments' functions, secrets and files out.")] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Look at table, bucket, ledger and warehouse as well.")
    ] = False,
) -> None:
    """Check the configuration; all problems at once, exit code 2 if there are any, 1 if what it names is not there."""
    if online:
        _check_online(config, as_json=as_json)
        return
    checked = read_config(config, offline=True)
    for pipeline in checked.pipelines:
        if not no_enrichments:
            asyncio.run(build_enricher(checked, pipeline, config))
    described = [
        {
            "pipeline": pipeline.name,
            "from": pipeline.stream_arn or pipeline.table,
            "to": f"{pipeline.schema}.{pipeline.target}",
            "outputs": sorted(pipeline.outputs),
            "columns": len(pipeline.layout.columns),
            "layout_id": pipeline.layout.layout_id,
        }
        for pipeline in checked.pipelines
    ]
    if as_json:
        typer.echo(orjson.dumps(described).decode())
        return
    for each in described:
        what = f"{each['pipeline']}: {each['from']} -> {each['to']}, {each['columns']} columns"
        results.print(what, markup=False, highlight=False)


def _check_online(config: Path, *, as_json: bool) -> None:
    async def look(reach: Reach) -> dict[str, list[Finding]]:
        return {each.name: await reach.deployed(each).look() for each in reach.config.pipelines}

    found = run(config, look)
    if as_json:
        echo_json(found)
    else:
        for name, findings in found.items():
            for each in findings:
                what = (
                    f"{name}: {each.what}: {each.problem}. {each.remedy}"
                    if each.problem
                    else f"{name}: {each.what}: ok"
                )
                (problems if each.problem else results).print(what, markup=False, highlight=False, soft_wrap=True)
    if any(each.problem for findings in found.values() for each in findings):
        raise typer.Exit(1)


def ddl(
    config: ConfigPath = DEFAULT_CONFIG,
    pipeline: PipelineName = "",
    apply: Annotated[bool, typer.Option("--apply", help="Run it in the warehouse.")] = False,
) -> None:
    """Print the SQL that makes everything a pipeline needs in the warehouse; running it again loses nothing."""
    one = choose_pipeline(read_config(config, offline=not apply), pipeline)
    if apply:
        run(config, lambda reach: _apply(reach, one))
        problems.print(f"{one.name}: made in {one.schema}.{one.target}", markup=False, highlight=False)
    else:
        typer.echo("".join(f"{statement.sql};\n\n" for statement in ddl_sql(one)), nl=False)


async def _apply(reach: Reach, pipeline: Pipeline) -> None:
    warehouse, sql = reach.warehouse(pipeline), ddl_sql(pipeline)
    for n in range(0, len(sql), MAX_STATEMENTS):
        token = f"ddl-{uuid.uuid4()}"
        await warehouse.run(sql[n : n + MAX_STATEMENTS], name=f"fastetl/ddl/{pipeline.name}", token=token)


def verify_account(config: ConfigPath = DEFAULT_CONFIG, pipeline: PipelineName = "", as_json: AsJson = False) -> None:
    """Ask the account what documents leave open, by small experiments; exit code 1 if an answer is unexpected.

    Makes tables `fastetl_verify_...` in the target's schema and objects under `check/`, and removes them.
    """

    async def ask(reach: Reach) -> list[Verdict]:
        return await reach.verifier(choose_pipeline(reach.config, pipeline)).verify()

    found = run(config, ask)
    if as_json:
        echo_json(found)
    else:
        for each in found:
            style = "" if each.as_expected else "yellow"
            results.print(f"{each.question} {each.answer}", style=style, markup=False, highlight=False, soft_wrap=True)
    if not all(each.as_expected for each in found):
        raise typer.Exit(1)
