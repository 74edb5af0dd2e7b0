"""A good configuration is read whole; of a bad one every problem is told at once, with its place and its remedy."""

from __future__ import annotations

import tomllib
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastetl.columns.types import RedshiftType
from fastetl.config.enrichments import Expression
from fastetl.config.model import Config, Grantee
from fastetl.config.naming import find_naming_problems
from fastetl.config.reading import ENVIRONMENT, parse_config
from fastetl.errors import ConfigError, EventError, Problem

ROLE = "arn:aws:iam::123456789012:role/copy"
GOOD = r"""
bucket = "staging-bucket"
ledger_table = "fastetl-ledger"
prefix = "etl/"

[redshift]
workgroup = "analytics"
database = "warehouse"
grant_to = ["role:analysts", "IAM:alice"]

[[pipelines]]
name = "flights"
table = "flights"
keys = ["day", "flight"]
target = "public.flights"
outputs = ["mirror", "log"]
undeclared = "extra"

[pipelines.file]
delimiter = "\t"
compression = "zstd"
null = "NULL"
part_size = "16 MiB"

[pipelines.load]
max_bytes = "1 GiB"
max_age = "5m"
post_sql = ["DELETE FROM public.cache"]

[[pipelines.columns]]
name = "day"
type = "DATE"

[[pipelines.columns]]
name = "flight"
type = "varchar(8)"
on_misfit = "truncate"

[[pipelines.columns]]
name = "wind"
path = "weather.wind.0"
type = "numeric(38, 10)"

[[pipelines.columns]]
name = "first_tag"
path = ["tags.all", 0]
type = "text"

[[pipelines.enrichments]]
kind = "expression"
inputs = ["wind"]
sql = "wind * 2"
outputs = [{ name = "double_wind", type = "DECIMAL(38,10)" }]

[[pipelines]]
name = "orders"
stream_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
keys = ["id"]
target = "public.orders"

[pipelines.redshift]
database = "other"

[[pipelines.columns]]
name = "id"
type = "BIGINT"
"""


@pytest.fixture(scope="module")
def good() -> Config:
    return parse_config(GOOD, {})


def test_everything_that_is_said_is_read(good: Config) -> None:
    flights = good.pipeline("flights")
    assert (good.bucket, good.ledger_table, good.prefix) == ("staging-bucket", "fastetl-ledger", "etl/")
    assert flights.outputs == {"mirror", "log"}
    assert (flights.schema, flights.target, flights.keys) == ("public", "flights", ("day", "flight"))
    assert (flights.file.delimiter, flights.file.compression, flights.file.null_marker) == ("\t", "zstd", "NULL")
    assert flights.file.part_size_bytes == 16 * 1024**2
    assert (flights.load.max_bytes, flights.load.max_age_seconds) == (1024**3, 300)
    assert [column.path for column in flights.columns] == [
        ("day",), ("flight",), ("weather", "wind", "0"), ("tags.all", 0),
    ]  # fmt: skip
    assert flights.columns[2].type == RedshiftType("DECIMAL", precision=38, scale=10)
    assert flights.enrichments[0].options == Expression("wind * 2")
    assert flights.redshift.workgroup == "analytics"


def test_a_pipelines_redshift_table_overrides_the_shared_one(good: Config) -> None:
    orders = good.pipeline("orders").redshift
    assert (orders.workgroup, orders.database) == ("analytics", "other")
    assert orders.grant_to == (Grantee("role", "analysts"), Grantee("user", "IAM:alice"))


def test_the_layout_has_system_declared_extra_and_enriched_columns(good: Config) -> None:
    names = [name for name, _ in good.pipeline("flights").layout.columns]
    assert names == [
        "_key", "_version", "_op", "_event_id", "_changed_at", "_deleted", "_file",
        "day", "flight", "wind", "first_tag", "_extra", "double_wind",
    ]  # fmt: skip


def test_tables_of_one_name_are_told_apart_by_account_and_region(good: Config) -> None:
    flights = good.pipeline("flights")
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/flights/stream/2030-01-01T00:00:00.000"
    own = "arn:aws:lambda:eu-west-1:123456789012:function:ingest"
    assert good.pipelines_for(arn, own) == (flights,)
    for other in (arn.replace("eu-west-1", "us-east-1"), arn.replace("123456789012", "210987654321")):
        with pytest.raises(EventError, match="name another one with stream_arn"):
            good.pipelines_for(other, own)
        named = msgspec.structs.replace(flights, stream_arn=other)
        config = msgspec.structs.replace(good, pipelines=(named,))
        later = other.replace("2030", "2031")
        assert config.pipelines_for(later, own) == (named,), "each stream of the table"
        with pytest.raises(EventError, match="no pipeline reads"):
            config.pipelines_for(arn, own)


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("", "", "'flights' is at pipelines[0] already"),
        ("arn:aws:dynamodb:eu-west-1:1:table/flights/stream/2030", "", "'flights' is at pipelines[0] already"),
        (
            "arn:aws:dynamodb:eu-west-1:1:table/flights/stream/2030",
            "arn:aws:dynamodb:eu-west-1:1:table/flights/stream/2031", "is at pipelines[0] already",
        ),
        (
            "arn:aws:dynamodb:eu-west-1:1:table/flights/stream/2030",
            "arn:aws:dynamodb:eu-west-1:2:table/flights/stream/2030", "",
        ),
    ],
)  # fmt: skip
def test_pipelines_of_tables_of_one_name_need_their_arns(good: Config, first: str, second: str, problem: str) -> None:
    one = msgspec.structs.replace(good.pipeline("flights"), stream_arn=first)
    other = msgspec.structs.replace(one, name="other", target="other", stream_arn=second)
    messages = [each.message for each in find_naming_problems([one, other])]
    assert problem in "".join(messages)
    assert bool(messages) is bool(problem)


def test_an_event_finds_its_pipeline_by_its_table(good: Config) -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/flights/stream/2030-01-01T00:00:00.000"
    assert [each.name for each in good.pipelines_for(arn)] == ["flights"]
    assert good.pipelines_for(good.pipeline("orders").stream_arn) == (good.pipeline("orders"),)
    with pytest.raises(EventError, match="no pipeline reads"):
        good.pipelines_for(arn.replace("flights", "flight"))
    with pytest.raises(KeyError):
        good.pipeline("nowhere")


def test_the_environment_wins(good: Config) -> None:
    environ = dict.fromkeys(ENVIRONMENT.values(), "") | {
        "FASTETL_BUCKET": "other-bucket", "FASTETL_LEDGER_TABLE": "other", "FASTETL_REDSHIFT_WORKGROUP": "blue",
    }  # fmt: skip
    config = parse_config(GOOD, environ)
    assert (config.bucket, config.ledger_table, config.prefix) == ("other-bucket", "other", good.prefix)
    assert {pipeline.redshift.workgroup for pipeline in config.pipelines} == {"blue"}


def test_the_environment_wins_over_a_pipelines_own_warehouse() -> None:
    orders = parse_config(GOOD, {"FASTETL_REDSHIFT_DATABASE": "blue", "FASTETL_REDSHIFT_IAM_ROLE": ROLE}).pipelines[1]
    assert (orders.redshift.database, orders.redshift.iam_role) == ("blue", ROLE)
    assert parse_config(GOOD, {"FASTETL_REDSHIFT_DATABASE": ""}).pipelines[1].redshift.database == "other"


CLUSTER = GOOD.replace('database = "other"', 'cluster = "c"\ndb_user = "loader"', 1)


@pytest.mark.parametrize(
    ("environ", "reached"),
    [
        ({}, ("", "c", "loader", "")),
        ({"FASTETL_REDSHIFT_WORKGROUP": "blue"}, ("blue", "", "", "")),
        ({"FASTETL_REDSHIFT_CLUSTER": "blue"}, ("", "blue", "loader", "")),
        ({"FASTETL_REDSHIFT_CLUSTER": "blue", "FASTETL_REDSHIFT_DB_USER": "u"}, ("", "blue", "u", "")),
        ({"FASTETL_REDSHIFT_SECRET_ARN": "arn"}, ("", "c", "", "arn")),
        ({"FASTETL_REDSHIFT_WORKGROUP": "blue", "FASTETL_REDSHIFT_SECRET_ARN": "arn"}, ("blue", "", "", "arn")),
        ({"FASTETL_REDSHIFT_CLUSTER": "b", "FASTETL_REDSHIFT_SECRET_ARN": "arn"}, ("", "b", "", "arn")),
    ],
)
def test_a_warehouse_that_the_environment_names_takes_the_place_of_another(
    environ: dict[str, str], reached: tuple[str, ...]
) -> None:
    target = next(
        pipeline.redshift
        for pipeline in parse_config(CLUSTER, environ | {"FASTETL_REDSHIFT_DATABASE": "d"}).pipelines
        if pipeline.name == "orders"
    )
    assert (target.workgroup, target.cluster, target.db_user, target.secret_arn) == reached
    assert target.database == "d"


def test_what_the_environment_says_twice_is_a_problem() -> None:
    environ = {"FASTETL_REDSHIFT_WORKGROUP": "w", "FASTETL_REDSHIFT_CLUSTER": "c"}
    with pytest.raises(ConfigError, match="exactly one of workgroup and cluster"):
        parse_config(GOOD, environ)


BAD = [
    ('bucket = "staging-bucket"', "", "bucket: missing. Set bucket, or FASTETL_BUCKET"),
    ('prefix = "etl/"', 'prefix = "/etl"', "prefix: '/etl' is no prefix"),
    ('prefix = "etl/"', 'prefx = "etl/"', "prefx: unknown setting. Did you mean prefix?"),
    ('workgroup = "analytics"', "", "pipelines[0].redshift: exactly one of workgroup and cluster"),
    ('name = "flights"', 'name = "a/b"', "pipelines[0].name: 'a/b' cannot be part of S3's keys"),
    ('table = "flights"', "", "pipelines[0].table: '' is no DynamoDB table"),
    ('table = "flights"', 'table = "orders"', "pipelines[1].table: 'orders' is at pipelines[0] already"),
    ('name = "orders"', 'name = "flights"', "pipelines[1].name: 'flights' is at pipelines[0] already"),
    (
        'target = "public.orders"\n\n[pipelines.redshift]\ndatabase = "other"',
        'target = "Public.Flights"',
        "pipelines[1].target: Public.Flights is a table or view of pipelines[0] already",
    ),
    ('target = "public.flights"', 'target = "flights"', "pipelines[0].target: no schema and table"),
    ('keys = ["day", "flight"]', 'keys = ["day", "number"]', "no column carries the key attribute 'number'"),
    ('keys = ["day", "flight"]', 'keys = ["day", "flight", "wind"]', "one or two key attributes"),
    ('keys = ["day", "flight"]', "keys = 3", "pipelines[0].keys: Expected `array`, got `int`"),
    (
        'outputs = ["mirror", "log"]',
        'outputs = ["log"]\ndeletes = "keep"',
        "pipelines[0].deletes: it says what the mirror keeps, and there is no mirror",
    ),
    (
        'outputs = ["mirror", "log"]',
        'outputs = ["mirror"]\ndeletes = "keeps"',
        "pipelines[0].deletes: Invalid enum value",
    ),
    ('outputs = ["mirror", "log"]', 'outputs = ["miror"]', "pipelines[0].outputs: Invalid enum value 'miror'"),
    ('undeclared = "extra"', 'undeclared = "extras"', "Did you mean 'extra'?"),
    ('type = "DATE"', 'type = "DAT"', "pipelines[0].columns[0].type: 'DAT' is not a Redshift type"),
    ('type = "DATE"', "", "pipelines[0].columns[0].type: missing"),
    ('type = "DATE"', 'type = "DATE"\non_misfit = "truncate"', "nothing of a DATE can be cut off"),
    ('type = "varchar(8)"', 'type = "varchar(8)"\ntime_format = "epoch_s"', "VARCHAR(8) is no time"),
    ('name = "wind"', 'name = "_wind"', "names with _ are fastetl's"),
    ('name = "wind"', 'name = "DAY"', "pipelines[0].columns[2].name: 'DAY' cannot be told from 'day'"),
    ('path = ["tags.all", 0]', "path = [0]", "a path is"),
    ('path = ["tags.all", 0]', 'path = ["tags", -1]', "-1 is neither a name nor a list position"),
    ('inputs = ["wind"]', 'inputs = ["storm"]', "no column 'storm' is there before this enrichment"),
    (r'delimiter = "\t"', 'delimiter = ",,"', "pipelines[0].file.delimiter: ',,' is no delimiter"),
    (r'delimiter = "\t"', "delimiter = '\"'", "is no delimiter"),
    (r'delimiter = "\t"', r'delimiter = "\n"', "is no delimiter"),
    (r'delimiter = "\t"', 'delimiter = "é"', "is no delimiter"),
    (r'delimiter = "\t"', 'delimiter = "U"', "pipelines[0].file.null: it holds the delimiter"),
    ('null = "NULL"', 'null = "a b"', "is no null marker"),
    ('part_size = "16 MiB"', 'part_size = "1 MiB"', "pipelines[0].file.part_size: out of S3's range"),
    ('part_size = "16 MiB"', 'part_size = "16 MB of it"', "a size is a number of bytes, or like 128 MiB"),
    ('max_age = "5m"', 'max_age = "5 fortnights"', "an age is a number of seconds, or like 15m"),
    ('max_age = "5m"', "max_age = 0", "must be more than nothing"),
    ('max_age = "5m"', "max_files = 10001", "max_files: out of range"),
    ("DELETE FROM public.cache", "TRUNCATE public.cache", "cannot run inside the load's transaction"),
    ("DELETE FROM public.cache", "DELETE FROM a; COMMIT", "cannot run inside the load's transaction"),
    ('database = "other"', 'database = "other"\niam_role = "admin"', "pipelines[1].redshift.iam_role: no role's ARN"),
    ('database = "other"', 'cluster = "c"\ndb_user = "a"\nsecret_arn = "b"', "exclude each other"),
    ('database = "other"', 'cluster = "c"\nworkgroup = "w"', "pipelines[1].redshift: exactly one of workgroup and"),
    ('database = "other"', 'db_user = "u"', "pipelines[1].redshift.db_user: a user of a cluster, and there is no"),
]


@pytest.mark.parametrize(("said", "instead", "told"), BAD)
def test_a_mistake_is_told_with_its_place(said: str, instead: str, told: str) -> None:
    assert said in GOOD
    with pytest.raises(ConfigError) as error:
        parse_config(GOOD.replace(said, instead, 1), {})
    assert told in str(error.value)
    assert all(problem.place and problem.message and problem.remedy for problem in error.value.problems)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("join_at = 0", "join_at: out of range. Choose from"),
        ("join_at = 1.01", "join_at: out of range. Choose from"),
        ("join_at = nan", "join_at: out of range. Choose from"),
        ('join_at = "half"', "join_at"),
        ("loads_at_once = 0", "loads_at_once: out of range. Choose from 1 to"),
        ("loads_at_once = 1000", "loads_at_once: out of range. Choose from 1 to"),
        ("loads_at_once = 2.5", "loads_at_once"),
    ],
)
def test_how_a_warehouse_is_shared_has_bounds(setting: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(GOOD.replace("[redshift]", f"[redshift]\n{setting}", 1), {})
    assert told in str(error.value)


@pytest.mark.parametrize(("setting", "here", "there"), [("join_at", 0.5, 0.1), ("loads_at_once", 3, 10)])
def test_pipelines_of_one_warehouse_share_it_in_one_way(setting: str, here: float, there: float) -> None:
    text = GOOD.replace('[pipelines.redshift]\ndatabase = "other"', f"[pipelines.redshift]\n{setting} = {here}")
    with pytest.raises(ConfigError) as error:
        parse_config(text, {})
    told = f"pipelines[1].redshift.{setting}: {here} here and {there} at pipelines[0], in the same warehouse"
    assert told in str(error.value)
    # Another warehouse may be shared in another way.
    assert parse_config(text.replace("[pipelines.redshift]", '[pipelines.redshift]\nworkgroup = "other"'), {})


def test_all_mistakes_are_told_at_once() -> None:
    text = GOOD
    chosen = [BAD[0], BAD[4], BAD[15], BAD[24], BAD[37]]
    for said, instead, _ in chosen:
        text = text.replace(said, instead, 1)
    with pytest.raises(ConfigError) as error:
        parse_config(text, {})
    assert all(told in str(error.value) for _, _, told in chosen)


def test_what_is_not_toml_is_told() -> None:
    with pytest.raises(ConfigError, match=r"fastetl.toml: not TOML: "):
        parse_config("bucket = ", {})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


def _places(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] * bool(place) + [deeper for name, part in items for deeper in _places(part, (*place, name))]


@given(st.data(), values)
def test_no_value_anywhere_ends_in_anything_but_a_configuration_or_its_problems(
    data: st.DataObject, value: object
) -> None:
    document = tomllib.loads(GOOD)
    *way, last = data.draw(st.sampled_from(_places(document)))
    target = document
    for name in way:
        target = target[name]
    target[last] = value
    # TOML has no writer in the standard library, so what was parsed already is handed over.
    with patch("tomllib.loads", return_value=document):
        problems = problems_of("")
    assert all(problem.place and problem.message and problem.remedy for problem in problems)


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        parse_config(text, {})
    except ConfigError as error:
        return error.problems
    return ()
