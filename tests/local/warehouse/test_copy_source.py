"""Where COPY reads: what S3 refuses is said in Redshift's words."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from fastetl.local.warehouse.copy_command import parse_copy
from fastetl.local.warehouse.copy_source import find_urls
from fastetl.local.warehouse.engine import SqlError


class Listing:
    """S3 that lists pages, or raises."""

    def __init__(self, *pages: Any) -> None:
        self.pages = pages

    def get_paginator(self, _operation: str) -> Any:
        return self

    def paginate(self, **_: Any) -> Any:
        for page in self.pages:
            if isinstance(page, Exception):
                raise page
            yield page


REFUSAL: Any = {
    "Error": {"Code": "AccessDenied", "Message": "Access Denied"},
    "ResponseMetadata": {"HTTPStatusCode": 403},
}
DENIED = ClientError(REFUSAL, "ListObjectsV2")
PREFIX = "COPY t FROM 's3://lake/in/' IAM_ROLE default FORMAT AS CSV"


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ((DENIED,), "S3ServiceException:Access Denied,Status 403,Error AccessDenied, s3://lake/in/"),
        (({"Contents": [{"Key": "in/a"}]}, DENIED), "Status 403"),
        ((EndpointConnectionError(endpoint_url="http://x"),), "S3CurlException: .*http://x"),
        (({},), "The specified S3 prefix 'in/' does not exist"),
    ],
)
def test_a_listing_that_fails_is_said_as_redshift_says_it(pages: Any, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        list(find_urls(parse_copy(PREFIX), Listing(*pages)))


def test_every_page_of_a_prefix_is_read() -> None:
    pages: Any = ({"Contents": [{"Key": "in/a"}]}, {}, {"Contents": [{"Key": "in/b"}]})
    assert list(find_urls(parse_copy(PREFIX), Listing(*pages))) == ["s3://lake/in/a", "s3://lake/in/b"]
