"""`fastetl check`: what a configuration says, and whether what it names is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastetl.cli.options import command, config_option
from fastetl.cli.output import echo_json, tell, write_count

if TYPE_CHECKING:
    from fastetl.config import Pipeline


@command("check", extra="")
@config_option
@click.option("--no-enrichments", is_flag=True, help="Leave out the enrichments' functions, secrets and files.")
@click.option("--online", is_flag=True, help="Look at the table, the bucket, the ledger and the warehouse as well.")
def check(config: Path, *, no_enrichments: bool, online: bool, as_json: bool) -> None:
    """Exit code 2 says that the configuration has problems, 1 that something that it names is not there."""
    if online:
        _check_online(config, as_json=as_json)
    else:
        _check_offline(config, no_enrichments=no_enrichments, as_json=as_json)


def _check_offline(path: Path, *, no_enrichments: bool, as_json: bool) -> None:
    import msgspec

    from fastetl.cli.configuration import read_config
    from fastetl.cli.enrichment import build_enricher
    from fastetl.config import find_storage_warnings
    from fastetl.errors import ConfigError, Problem
    from fastetl.sql import find_size_problems

    config = read_config(path, offline=True)
    warnings = [msgspec.to_builtins(warning) for warning in find_storage_warnings(config.pipelines)]
    problems: list[Problem] = find_size_problems(config)
    for pipeline in config.pipelines if not no_enrichments else ():
        try:
            problems += asyncio.run(build_enricher(config, pipeline, path)).try_out()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    described = [
        {
            "pipeline": pipeline.name,
            "from": pipeline.stream_arn or pipeline.table,
            "to": ", ".join(f"{part.schema}.{part.target}" for part in pipeline.targets),
            "outputs": sorted(pipeline.outputs),
            "columns": sum(len(part.layout.columns) for part in pipeline.targets),
            "layout_id": pipeline.layout.layout_id,
            **({"targets": _describe_group(pipeline)} if pipeline.parts else {}),
            "warnings": [each for each in warnings if each["place"].startswith(f"pipelines[{n}].")],
        }
        for n, pipeline in enumerate(config.pipelines)
    ]
    if as_json:
        echo_json(described)
        return
    for each in described:
        click.echo(f"{each['pipeline']}: {each['from']} -> {each['to']}, {each['columns']} columns")
        if "targets" in each:
            click.echo(f"{each['pipeline']}: {each['targets']}")
    for warning in warnings:
        tell(f"{warning['place']}: {warning['message']}. {warning['remedy']}", colour="yellow")


def _describe_group(pipeline: Pipeline) -> str:
    """Say what commits together, in how many statements, and whether it has to."""
    from fastetl.config import count_statements
    from fastetl.limits import MAX_STATEMENTS

    children = sum(bool(part.rows_of) for part in pipeline.parts)
    names = f"{write_count(len(pipeline.parts) - children, 'target')} and {write_count(children, 'child table')}"
    why = (
        "the key alone decides, so that no item moves: targets could commit apart, each with its child tables"
        if pipeline.keys_decide
        else "an item can move from one target to another"
    )
    return f"{names} commit together, in {count_statements(pipeline)} of at most {MAX_STATEMENTS} statements; {why}"


def _check_online(path: Path, *, as_json: bool) -> None:
    from fastetl.cli.deployments import run_each
    from fastetl.operate import Preflight

    found = run_each(path, "", lambda one: Preflight(one).look())
    if as_json:
        echo_json(found)
    for name, findings in found.items() if not as_json else ():
        for each in findings:
            if each.problem:
                tell(f"{name}: {each.what}: {each.problem}. {each.remedy}", colour="red")
            else:
                click.echo(f"{name}: {each.what}: ok")
    if any(each.problem for findings in found.values() for each in findings):
        raise click.exceptions.Exit(1)
