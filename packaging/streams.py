"""Write the template of a stack that reads as many streams as the configuration has: `make deploy` calls it.

    python packaging/streams.py template.yaml fastetl.toml build/template.yaml

`template.yaml` is of one stream. What stands between the comments `# --- each stream` and `# --- end` is repeated for
each further one, with a number behind the names. CloudFormation's own `Fn::ForEach` would do it in the template, but
cfn-lint refuses references between resources whose names it makes from an ARN.
"""

import re
import sys
import tomllib
from pathlib import Path

EACH = re.compile(r"^ *# --- each stream\n(.*?)^ *# --- end\n", re.MULTILINE | re.DOTALL)
NAMES = re.compile(r"\b(StreamArn|IngestMapping|EventsGivenUp|EventsDropped)\b")
MOST = 50
"""A role's own policies hold 10,240 characters (IAM quotas), and name each stream; a function's environment holds 4 KB
(Lambda quotas), and names each mapping."""


def count_streams(config: str) -> int:
    """Count the streams that a configuration's pipelines read.

    Args:
        config: the text of a `fastetl.toml`.
    """
    streams = set()
    for pipeline in tomllib.loads(config).get("pipelines", []):
        arn = str(pipeline.get("stream_arn", ""))
        # A table's ARN before its stream's own part: of each table one stream is read, of Kinesis each that is named.
        streams.add(arn.partition("/stream/")[0] or str(pipeline.get("table", "")))
    return len(streams)


def repeat(template: str, streams: int) -> str:
    """Repeat what each stream has.

    Args:
        template: of one stream.
        streams: that the stack reads, at least one.

    Raises:
        ValueError: a stack cannot have this number of streams.
    """
    if not 1 <= streams <= MOST:
        raise ValueError(f"{streams} streams; a stack reads 1 to {MOST}: give each of several stacks its pipelines")

    def copies(match: re.Match[str]) -> str:
        others = (NAMES.sub(rf"\g<1>{n}", match[1]) for n in range(2, streams + 1))
        return "".join((match[1], *others))

    return EACH.sub(copies, template)


def main(template: Path, config: Path, written: Path) -> int:
    """Write the template; say what is wrong where it cannot be done."""
    try:
        text = repeat(template.read_text(), count_streams(config.read_text()))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{config}: {error}\n")
        return 1
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
