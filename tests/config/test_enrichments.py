"""Every kind of enrichment has settings of its own; what is misspelt, missing or in excess is told with its remedy."""

from __future__ import annotations

import msgspec
import pytest

from fastetl.config.enrichments import OPTIONS, Expression, Filter, Function, GeoIp, Lookup, Mask, Options
from fastetl.config.reading import parse_config
from fastetl.errors import ConfigError

CONFIG = """
bucket = "bucket"
ledger_table = "ledger"
redshift = {{ workgroup = "analytics" }}

[[pipelines]]
name = "orders"
table = "orders"
keys = ["id"]
target = "public.orders"
columns = [{{ name = "id", type = "BIGINT" }}, {{ name = "note", type = "VARCHAR(64)" }}]

{enrichments}
"""
A = '[{ name = "a", type = "VARCHAR(9)" }]'
GOOD: list[tuple[Options, str]] = [
    (
        Function("package.module:function"),
        f'kind = "function"\nfunction = "package.module:function"\ninputs = ["note"]\noutputs = {A}',
    ),
    (Expression("1"), f'kind = "expression"\nsql = "1"\noutputs = {A}'),
    (Filter("true"), 'kind = "filter"\nsql = "true"'),
    (Mask("hash", "KEY"), f'kind = "mask"\nmethod = "hash"\nkey_variable = "KEY"\noutputs = {A}'),
    (Mask("truncate", characters=3), f'kind = "mask"\nmethod = "truncate"\ncharacters = 3\noutputs = {A}'),
    (
        GeoIp("a.mmdb", {"a": "country"}),
        f'kind = "geoip"\nsource = "a.mmdb"\ninputs = ["note"]\npaths = {{ a = "country" }}\noutputs = {A}',
    ),
    (
        Lookup("a.csv", ("key",), {"a": "b"}),
        f'kind = "lookup"\nsource = "a.csv"\ninputs = ["note"]\non = ["key"]\ncolumns = {{ a = "b" }}\noutputs = {A}',
    ),
]


def read(*enrichments: str) -> list[Options]:
    tables = "\n".join(f"[[pipelines.enrichments]]\n{text}\n" for text in enrichments)
    pipeline = parse_config(CONFIG.format(enrichments=tables), {}).pipelines[0]
    return [enrichment.options for enrichment in pipeline.enrichments]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem).removeprefix("pipelines[0].enrichments[0]") for problem in caught.value.problems]


def test_every_kind_is_read() -> None:
    assert [read(text) for _, text in GOOD] == [[options] for options, _ in GOOD]
    assert {type(options) for options, _ in GOOD} == set(OPTIONS.values())


def test_settings_of_every_kind_survive_as_json() -> None:
    for options, _ in GOOD:
        assert msgspec.json.decode(msgspec.json.encode(options), type=Options) == options


def test_files_that_enrichments_read_are_named_once() -> None:
    with_files = [text for options, text in GOOD if isinstance(options, GeoIp | Lookup | Filter)]
    tables = "\n".join(f"[[pipelines.enrichments]]\n{text}" for text in [*with_files, *with_files])
    assert parse_config(CONFIG.format(enrichments=tables), {}).references == ("a.mmdb", "a.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('kind = "experssion"\nsql = "1"', ".kind: Invalid enum value 'experssion'. Did you mean 'expression'?"),
        ('sql = "1"', ".kind: missing. Add kind = …"),
        (f'kind = "expression"\nsqll = "1"\noutputs = {A}', ".sqll: unknown setting. Did you mean sql?"),
        (f'kind = "expression"\noutputs = {A}', ".sql: missing. Add sql = …"),
        (f'kind = "expression"\nsql = 1\noutputs = {A}', ".sql: Expected `str`, got `int`. Change its type"),
        ('kind = "expression"\nsql = "1"', ".outputs: an expression gives exactly one column"),
        (f'kind = "filter"\nsql = "1"\noutputs = {A}', ".outputs: a filter gives no column"),
        (f'kind = "filter"\nsql = "1"\nsource = "x"\noutputs = {A}', ".source: unknown setting"),
        (f'kind = "function"\nfunction = "module"\noutputs = {A}', ".function: 'module' names no function"),
        ('kind = "function"\nfunction = "module:f"', ".outputs: missing"),
        (
            f'kind = "function"\nfunction = "module:f"\noutputs = {A}',
            ".inputs: missing. Name the columns",
        ),
        (f'kind = "mask"\nmethod = "rot13"\noutputs = {A}', ".method: Invalid enum value 'rot13'"),
        (f'kind = "mask"\nmethod = "hash"\noutputs = {A}', ".key_variable: it goes with the method hash"),
        (f'kind = "mask"\nmethod = "drop"\nkey_variable = "K"\noutputs = {A}', ".key_variable: it goes with"),
        (f'kind = "mask"\nmethod = "truncate"\noutputs = {A}', ".characters: it goes with the method truncate"),
        (f'kind = "mask"\nmethod = "drop"\ncharacters = 0\noutputs = {A}', ".characters: it goes with"),
        ('kind = "mask"\nmethod = "drop"', ".outputs: missing"),
        (f'kind = "geoip"\nsource = "x"\ninputs = ["note"]\noutputs = {A}', ".paths.a: missing"),
        (f'kind = "geoip"\nsource = "x"\npaths = {{ a = "b" }}\noutputs = {A}', ".inputs: one column holds"),
        (
            f'kind = "geoip"\nsource = "x"\ninputs = ["note"]\npaths = {{ a = "b", c = "d" }}\noutputs = {A}',
            ".paths.c: no output has this name. Choose from a",
        ),
        (f'kind = "lookup"\nsource = "x"\noutputs = {A}', ".on: a lookup needs inputs"),
        (f'kind = "lookup"\nsource = "x"\ninputs = ["note"]\non = ["a", "b"]\noutputs = {A}', ".on: a lookup needs"),
        (
            f'kind = "lookup"\nsource = "x"\ninputs = ["note"]\ncolumns = {{ shut = "x" }}\noutputs = {A}',
            ".columns.shut: no output has this name. Choose from a",
        ),
        (f'kind = "lookup"\ninputs = ["note"]\noutputs = {A}', ".source: missing"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_remedy(text: str, told: str) -> None:
    assert any(problem.startswith(told) for problem in problems(text)), problems(text)


def test_an_unknown_kind_is_the_only_problem() -> None:
    use = 'kind = "expression"\nsql = "a"\ninputs = ["a"]\noutputs = [{ name = "b", type = "DATE" }]'
    with pytest.raises(ConfigError) as caught:
        read(f'kind = "magic"\nspell = "x"\noutputs = {A}', use)
    assert [problem.place for problem in caught.value.problems] == ["pipelines[0].enrichments[0].kind"]
