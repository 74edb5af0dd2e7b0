"""The errors that fastetl raises on purpose.

```
FastetlError
├── ConfigError          the configuration cannot be used; carries every problem found
├── EventError           an event is not what an event source mapping sends
├── MisfitError          a value does not fit a column whose policy is `fail`
├── EnrichmentError      an enrichment raised, or broke its promise about columns
├── StorageError         S3 did not do what was asked
├── SourceError          DynamoDB did not do what was asked of the source table
├── ExportError          an export is not what its manifests say
├── LedgerError          the ledger did not do what was asked, or contradicts itself
│   └── StaleStepError   another coordinator has moved the batch on; read again
├── StackError           CloudFormation, Step Functions or CloudWatch did not do what was asked of the stack
└── WarehouseError       the Redshift Data API did not take a call
    └── LostEpochsError  rows carry an epoch that neither the ledger nor the warehouse knows
```

A message names the operation, the object and what to do. It never carries item content.
"""

from __future__ import annotations

import traceback

import msgspec


class FastetlError(Exception):
    """Whatever fastetl itself reports; everything else is a defect or the environment."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a configuration, and what mends it."""

    place: str
    """Where, as a path: `pipelines[0].columns[3].type`."""
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}. {self.remedy}"


class ConfigError(FastetlError):
    """The configuration cannot be used."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class EventError(FastetlError):
    """The event as a whole cannot be read: not JSON, no records, an unknown table."""


class MisfitError(FastetlError):
    """A value does not fit a column that the configuration declared `on_misfit = "fail"`."""


class EnrichmentError(FastetlError):
    """An enrichment raised, or did not give the columns that it declares."""


class StorageError(FastetlError):
    """S3 did not do what was asked."""


class SourceError(FastetlError):
    """DynamoDB did not do what was asked of the source table."""


class ExportError(FastetlError):
    """An export of the source table is not what its manifests say, or none at all."""


class LedgerError(FastetlError):
    """The ledger did not do what was asked, or contradicts itself."""


class StaleStepError(LedgerError):
    """A condition failed because someone else has already taken this step."""


class StackError(FastetlError):
    """CloudFormation, Step Functions or CloudWatch did not do what was asked of a deployed stack."""


class WarehouseError(FastetlError):
    """The Redshift Data API did not take a call, or no answer came: the call may have had its effect all the same."""

    def __init__(self, message: str, *, code: str = "", transient: bool = False, step: str = "") -> None:
        self.step = step
        """The step whose statement failed; empty where none is named."""
        self.code = code
        """AWS's error code; empty where no answer came."""
        self.transient = transient
        """Whether the same call may succeed later with nothing mended."""
        super().__init__(message)


class LostEpochsError(WarehouseError):
    """Rows of a target carry an epoch of which neither the ledger nor the warehouse knows when it began."""


def find_places(error: BaseException) -> list[str]:
    """Name the lines that an error came through. The message of a defect may quote an item; these do not.

    Args:
        error: as it was raised.
    """
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
