"""DynamoDB, as far as fastetl uses it: one table with a sparse index that lags behind, conditions and transactions."""

from __future__ import annotations

import bisect
import heapq
import itertools
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.simulation.expressions import Item, check_placeholders, holds, updated
from tests.simulation.faults import client_error

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ITEM_BYTES = 400 * 1024
TOKEN_SECONDS = 600
_EXPRESSIONS = (
    "ConditionExpression",
    "UpdateExpression",
    "KeyConditionExpression",
    "FilterExpression",
    "ProjectionExpression",
)


class FakeDynamoDB:
    """One table, `pk` its key, and the index `pending` with `q` and `qk`.

    `lag` gives the seconds after which the index shows a write; `page_items` bounds what one answer holds, as 1 MB
    does; `unprocessed` says how many keys of a BatchGetItem go unanswered; `watch` sees every write.
    """

    NAME = "dynamodb"

    def __init__(
        self,
        clock: Callable[[], float] = lambda: 0.0,
        *,
        lag: Callable[[], float] = lambda: 0.0,
        page_items: int = 1000,
        unprocessed: Callable[[int], int] = lambda _: 0,
        watch: Callable[[Item | None, Item], None] = lambda _was, _is: None,
    ) -> None:
        self.items: dict[str, Item] = {}
        self.watch = watch
        self._clock = clock
        self._lag = lag
        self._page_items = page_items
        self._unprocessed = unprocessed
        self._index: dict[str, dict[str, Item]] = defaultdict(dict)
        """The index's items, by `q` and by `pk`."""
        self._listed: dict[str, str] = {}
        """By `pk`, under which `q` the index has it."""
        self._coming: list[tuple[float, int, str, Item]] = []
        self._visible_at: dict[str, float] = {}
        self._count = itertools.count()
        self._tokens: dict[str, tuple[float, Any]] = {}

    # --- the table as a whole ------------------------------------------------------------------------------------

    def create_table(self, **_: Any) -> dict[str, Any]:
        """The table is there from the start."""
        return {}

    def backup(self) -> dict[str, Item]:
        """The table as it is now."""
        return dict(self.items)

    def restore(self, backup: dict[str, Item]) -> None:
        """The table as it was then; its index is built again."""
        self.items = dict(backup)
        self._index.clear()
        self._listed.clear()
        for pk, item in backup.items():
            self._list(pk, item)
        self._coming.clear()
        self._visible_at.clear()
        self._tokens.clear()

    def expire(self) -> int:
        """Delete what its time to live says is over, from the index as well; give how many items."""
        now = self._clock()
        gone = [pk for pk, item in self.items.items() if "expires" in item and float(item["expires"]["N"]) < now]
        for pk in gone:
            self._store(pk, None)
        return len(gone)

    def describe_table(self, **_: Any) -> dict[str, Any]:
        raise client_error("describe_table", "ResourceNotFoundException", "Requested resource not found")

    # --- single items --------------------------------------------------------------------------------------------

    def get_item(self, *, TableName: str, Key: Item, **_: Any) -> dict[str, Any]:
        found = self.items.get(Key["pk"]["S"])
        return {"Item": dict(found)} if found is not None else {}

    def put_item(self, **arguments: Any) -> dict[str, Any]:
        return self._write("put_item", arguments)

    def update_item(self, **arguments: Any) -> dict[str, Any]:
        return self._write("update_item", arguments)

    def delete_item(self, **arguments: Any) -> dict[str, Any]:
        return self._write("delete_item", arguments)

    def _write(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        was = self.items.get(_pk(arguments))
        after = self._after(operation, arguments, was)
        if after is None and not self._allowed(arguments, was):
            kept = {"Item": dict(was)} if was and _wants_old(arguments) else {}
            raise client_error(
                operation, "ConditionalCheckFailedException", "The conditional request failed", 400, **kept
            )
        self._store(_pk(arguments), after)
        wanted = arguments.get("ReturnValues", "NONE")
        shown = {"ALL_OLD": was, "ALL_NEW": after}.get(wanted) if wanted != "NONE" else None
        return {"Attributes": dict(shown)} if shown else {}

    def _allowed(self, arguments: dict[str, Any], was: Item | None) -> bool:
        return holds(arguments.get("ConditionExpression", ""), was or {}, arguments)

    def _after(self, operation: str, arguments: dict[str, Any], was: Item | None) -> Item | None:
        """The item as it will be; None where it is deleted or the condition fails."""
        check_placeholders(operation, arguments, *(arguments.get(name, "") for name in _EXPRESSIONS))
        if not self._allowed(arguments, was) or operation == "delete_item":
            return None
        if operation == "put_item":
            after = dict(arguments["Item"])
        else:
            after = updated(arguments["UpdateExpression"], was or dict(arguments["Key"]), arguments)
        # A little more than DynamoDB counts.
        if sum(len(name) + len(value.get("B", str(value))) for name, value in after.items()) > MAX_ITEM_BYTES:
            raise client_error(operation, "ValidationException", "Item size has exceeded the maximum allowed size")
        for name in ("pk", "q", "qk"):
            if name in after and not after[name].get("S"):
                raise client_error(operation, "ValidationException", f"key attribute {name} must be a non-empty text")
        return after

    def _store(self, pk: str, after: Item | None) -> None:
        was = self.items.get(pk)
        if after is None:
            self.items.pop(pk, None)
        else:
            self.items[pk] = after
        if "q" in (was or ()) or "q" in (after or ()):
            # An item's own changes reach the index in their order, each after a delay of its own.
            visible = max(self._visible_at.get(pk, 0.0), self._clock() + self._lag())
            self._visible_at[pk] = visible
            heapq.heappush(self._coming, (visible, next(self._count), pk, after or {}))
        if after is not None:
            self.watch(was, after)

    # --- many items ----------------------------------------------------------------------------------------------

    def batch_get_item(self, *, RequestItems: dict[str, Any], **_: Any) -> dict[str, Any]:
        ((table, request),) = RequestItems.items()
        keys = request["Keys"]
        distinct = {key["pk"]["S"] for key in keys}
        if not 1 <= len(keys) <= 100 or len(distinct) != len(keys):
            raise client_error("batch_get_item", "ValidationException", "1 to 100 distinct keys")
        answered = len(keys) - self._unprocessed(len(keys))
        found = [dict(self.items[key["pk"]["S"]]) for key in keys[:answered] if key["pk"]["S"] in self.items]
        left = {table: {**request, "Keys": keys[answered:]}} if answered < len(keys) else {}
        return {"Responses": {table: found}, "UnprocessedKeys": left}

    def transact_write_items(
        self, *, TransactItems: list[dict[str, Any]], ClientRequestToken: str = "", **_: Any
    ) -> dict[str, Any]:
        done_at, done = self._tokens.get(ClientRequestToken, (0.0, None))
        if ClientRequestToken and done is not None and self._clock() - done_at < TOKEN_SECONDS:
            if done != TransactItems:
                raise client_error("transact_write_items", "IdempotentParameterMismatchException", "parameters differ")
            return {}
        writes = [(kind, arguments) for entry in TransactItems for kind, arguments in entry.items()]
        if not 1 <= len(writes) <= 100 or len({_pk(arguments) for _, arguments in writes}) != len(writes):
            raise client_error("transact_write_items", "ValidationException", "1 to 100 writes of distinct items")
        afters, reasons = [], []
        for kind, arguments in writes:
            was = self.items.get(_pk(arguments))
            afters.append(self._after(_OPERATIONS[kind], arguments, was))
            reason: dict[str, Any] = {"Code": "None"}
            if not self._allowed(arguments, was):
                kept = {"Item": dict(was)} if was and _wants_old(arguments) else {}
                reason = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", **kept}
            reasons.append(reason)
        if any(reason["Code"] != "None" for reason in reasons):
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise client_error(
                "transact_write_items",
                "TransactionCanceledException",
                f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
                CancellationReasons=reasons,
            )
        for (kind, arguments), after in zip(writes, afters, strict=True):
            if kind != "ConditionCheck":
                self._store(_pk(arguments), after)
        if ClientRequestToken:
            self._tokens[ClientRequestToken] = (self._clock(), TransactItems)
        return {}

    def scan(self, **arguments: Any) -> dict[str, Any]:
        check_placeholders("scan", arguments, arguments.get("FilterExpression", ""))
        return self._page(sorted(self.items), self.items, arguments, arguments.get("FilterExpression", ""))

    def query(self, **arguments: Any) -> dict[str, Any]:
        condition = arguments["KeyConditionExpression"]
        check_placeholders("query", arguments, condition, arguments.get("FilterExpression", ""))
        if arguments.get("IndexName") != "pending":
            matching = sorted(pk for pk, item in self.items.items() if holds(condition, item, arguments))
            return self._page(matching, self.items, arguments, arguments.get("FilterExpression", ""))
        if arguments.get("ConsistentRead"):
            raise client_error("query", "ValidationException", "Consistent reads are not supported on global indexes")
        self._catch_up()
        shown = self._index[_find_partition(condition, arguments)]
        matching = [pk for pk, item in shown.items() if holds(condition, item, arguments)]
        matching.sort(key=lambda pk: (shown[pk]["qk"]["S"], pk), reverse=not arguments.get("ScanIndexForward", True))
        return self._page(matching, shown, arguments, "", index=True)

    def _catch_up(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock():
            _, _, pk, item = heapq.heappop(self._coming)
            self._list(pk, item)

    def _list(self, pk: str, item: Item) -> None:
        if pk in self._listed:
            del self._index[self._listed.pop(pk)][pk]
        if "q" in item:
            self._index[item["q"]["S"]][pk] = item
            self._listed[pk] = item["q"]["S"]

    def _page(
        self, pks: list[str], items: dict[str, Item], arguments: dict[str, Any], only: str, *, index: bool = False
    ) -> dict[str, Any]:
        def position(pk: str, item: Item) -> tuple[str, str]:
            return (item["qk"]["S"] if index else "", pk)

        if start := arguments.get("ExclusiveStartKey"):
            after = position(start["pk"]["S"], start)
            pks = pks[bisect.bisect_right(pks, after, key=lambda pk: position(pk, items[pk])) :]
        most = min(arguments.get("Limit", self._page_items), self._page_items)
        page = pks[:most]
        found = [dict(items[pk]) for pk in page if holds(only, items[pk], arguments)]
        answer: dict[str, Any] = {"Items": found, "Count": len(found), "ScannedCount": len(page)}
        if len(pks) > most:
            names = ("pk", "q", "qk") if index else ("pk",)
            answer["LastEvaluatedKey"] = {name: items[page[-1]][name] for name in names}
        return answer


_OPERATIONS = {
    "Put": "put_item",
    "Update": "update_item",
    "Delete": "delete_item",
    "ConditionCheck": "delete_item",
}


def _pk(arguments: dict[str, Any]) -> str:
    pk: str = (arguments.get("Key") or arguments["Item"])["pk"]["S"]
    return pk


def _find_partition(condition: str, arguments: dict[str, Any]) -> str:
    """Find the value of the index's first key, by which every query has to ask."""
    if not (asked := re.match(r"q = (:\w+)", condition)):
        raise client_error("query", "ValidationException", "Query condition missed key schema element: q")
    partition: str = arguments["ExpressionAttributeValues"][asked[1]]["S"]
    return partition


def _wants_old(arguments: dict[str, Any]) -> bool:
    return arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
