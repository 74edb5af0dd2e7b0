"""Which of AWS's errors go away by themselves, and which waiting does not mend."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from fastetl.aws.calls import is_transient
from fastetl.errors import StorageError


def raised(cause: Exception) -> StorageError:
    error = StorageError("as an edge raises it")
    error.__cause__ = cause
    return error


def refused(code: str, message: str = "") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}}
    return ClientError(answer, "Operation")


@pytest.mark.parametrize("code", [
    # Amazon Redshift Data API reference, ExecuteStatement and Common Errors; Amazon DynamoDB Developer Guide, "Error
    # handling"; Amazon S3 API reference, "Error responses".
    "ActiveSessionsExceededException", "ActiveStatementsExceededException", "DatabaseConnectionException",
    "InternalServerException", "InternalFailure", "RequestLimitExceeded", "ServiceUnavailable", "ThrottlingException",
    "InternalServerError", "ProvisionedThroughputExceededException", "Throttling",
    "ConditionalRequestConflict", "InternalError", "OperationAborted", "RequestTimeout", "SlowDown",
    "500", "502", "503", "504",
])  # fmt: skip
def test_what_goes_away_by_itself(code: str) -> None:
    assert is_transient(raised(refused(code)))


@pytest.mark.parametrize("code", [
    "AccessDenied", "AccessDeniedException", "NoSuchKey", "NoSuchBucket", "ValidationException", "BadDigest",
    "ResourceNotFoundException", "ConditionalCheckFailedException", "PreconditionFailed", "ExpiredToken",
    "400", "403", "404", "412", "",
])  # fmt: skip
def test_what_waiting_does_not_mend(code: str) -> None:
    assert not is_transient(raised(refused(code)))


@pytest.mark.parametrize(
    ("message", "transient"),
    [
        ("Rate exceeded", True),
        ("rate exceeded", True),
        ("Request was throttled", True),
        ("Throttling", True),
        ("no", False),
    ],
)
def test_redshift_throttles_inside_another_error(message: str, transient: bool) -> None:
    assert is_transient(raised(refused("ValidationException", message))) is transient


@pytest.mark.parametrize(
    ("cause", "transient"),
    [
        (TimeoutError(), True), (ConnectionResetError(), True), (aiohttp.ClientPayloadError(), True),
        (EndpointConnectionError(endpoint_url="http://x"), True), (ReadTimeoutError(endpoint_url="http://x"), True),
        (NoCredentialsError(), False), (NoRegionError(), False), (ParamValidationError(report="x"), False),
        (PartialCredentialsError(provider="x", cred_var="y"), False), (ValueError(), False), (KeyError(), False),
    ],
)  # fmt: skip
def test_no_answer_is_waited_for_unless_nothing_was_sent(cause: Exception, transient: bool) -> None:
    assert is_transient(raised(cause)) is transient
    assert not is_transient(StorageError("without a cause"))
