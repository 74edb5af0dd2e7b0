"""The questions of a rehearsal about loads that succeed, and about what keeps a change from being doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastetl.operate.catalog import Catalog
from fastetl.operate.questions import Question
from fastetl.sql import Privilege, load_privileges, quote_table, tombstone_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastetl.load import BatchName
    from fastetl.operate.rehearsal_means import Means

RESYNC_EPOCH = 1

TELL = "do not load; tell the maintainers"
SAFE = "nothing is lost or doubled all the same; tell the maintainers"


class Loads:
    """Asks whether loads do what they should."""

    def __init__(self, means: Means, unmade: Sequence[str]) -> None:
        """Describe what is asked.

        Args:
            means: of the rehearsal.
            unmade: what of tables and grants could not be made.
        """
        self._means = means
        self._pipeline = means.pipeline
        self._unmade = unmade

    def questions(self) -> list[Question]:
        """Give the questions, in the order in which they have to be asked."""
        return [
            Question(
                "Has the coordinator's user what a load needs, and no more?",
                self._grants,
                "`fastetl ddl --apply` grants what is needed",
                "grant what is missing, or revoke what is too much, as whoever owns the tables",
            ),
            Question(
                "Does every column type take its values, and NULL?", self._types, "values arrive as they were", TELL
            ),
            Question(
                "Does a file of an older layout load?",
                self._older_layout,
                "files that were written before a deploy load after it",
                TELL,
            ),
            Question("Does a deletion stay, whatever comes late?", self._deletions, "no deleted row comes back", TELL),
            Question(
                "Does a client token give the same statements again?",
                self._token,
                "a call whose answer is lost is repeated safely",
                f"the gate refuses the second run; {SAFE}",
                matters=False,
            ),
            Question(
                "Does ListStatements find an attempt by its name?",
                self._list_statements,
                "an attempt whose id is lost is found again",
                f"an attempt whose id is lost is resolved, later; {SAFE}",
                matters=False,
            ),
            Question("Is a loaded batch refused when it comes again?", self._again, "no change is doubled", TELL),
            Question("Is a file refused that another batch has loaded?", self._other, "no change is doubled", TELL),
            Question("Does resolve tell what is loaded, and fence the rest?", self._resolve, "retries are safe", TELL),
        ]

    def last_questions(self) -> list[Question]:
        """Give the questions after which the mirror is empty."""
        return [
            Question(
                "Does a resync delete what its export no longer has?",
                self._resync,
                "`fastetl resync` mends gaps",
                "do not run `fastetl resync`; tell the maintainers",
            )
        ]

    # --- what is loaded --------------------------------------------------------------------------------------------

    async def _grants(self) -> tuple[str, bool]:
        user = self._pipeline.redshift.load_user
        if self._unmade:
            return "; ".join(self._unmade), False
        if not user:
            return "redshift.load_user is not set: whoever loads owns the tables, or loads fail below", True
        catalog = Catalog(self._means.deployment)
        parts = [f"it lacks {each}" for each in await catalog.missing_privileges()]
        parts += [f"it may {each} as well" for each in await catalog.granted(self._not_needed())]
        return (f"{user}: {', '.join(parts)}" if parts else f"yes, {user} has"), not parts

    def _not_needed(self) -> tuple[Privilege, ...]:
        needed = load_privileges(self._pipeline)
        tables = dict.fromkeys(each.object for each in needed if each.kind == "table")
        every = [Privilege("table", table, right) for table in tables for right in ("INSERT", "UPDATE", "DELETE")]
        return tuple(each for each in every if each not in needed)

    async def _types(self) -> tuple[str, bool]:
        if problem := await self._means.load("first"):
            return problem, False
        columns = self._pipeline.columns[1:]
        wrong = await self._means.differing(1, columns) + await self._means.differing(2, columns, null=True)
        return (f"no: {'; '.join(wrong)}" if wrong else f"yes, all {len(columns)}"), not wrong

    async def _older_layout(self) -> tuple[str, bool]:
        if problem := await self._means.load("older"):
            return problem, False
        *there, lacking = self._pipeline.columns[1:]
        wrong = await self._means.differing(1, there) + await self._means.differing(1, [lacking], null=True)
        wrong += await self._means.differing(4, [*there, lacking], null=True)
        return (f"no: {'; '.join(wrong)}" if wrong else f"yes, with NULL in {lacking.name}, which it lacks"), not wrong

    async def _deletions(self) -> tuple[str, bool]:
        batches: tuple[BatchName, ...] = ("deletes", "late")
        for batch in batches:
            if problem := await self._means.load(batch):
                return problem, False
        view, mirror = quote_table(self._pipeline, "_current"), quote_table(self._pipeline)
        shown = await self._means.count(f'{view} WHERE "id" = 3')
        kept = await self._means.count(f'{mirror} WHERE "id" = 3 AND "_deleted"')
        wrong = await self._means.differing(3, self._pipeline.columns[1:], null=True)
        if shown or kept != 1 or wrong:
            return f"no: {shown} rows are shown, {kept} tombstones are kept; {'; '.join(wrong)}", False
        return "yes: one tombstone without values, and the view hides it", True

    async def _resync(self) -> tuple[str, bool]:
        view = quote_table(self._pipeline, "_current")
        before = await self._means.count(view)
        exported_at, owner = int(self._means.deployment.clock()), self._means.deployment.owner
        await self._means.run(tombstone_sql(self._pipeline, owner, RESYNC_EPOCH, exported_at))
        after = await self._means.count(view)
        return f"{before} rows before, {after} after", before > 0 and after == 0

    # --- what keeps a change from being doubled --------------------------------------------------------------------

    async def _token(self) -> tuple[str, bool]:
        ids = {(await self._means.look("load", "first", 1)).statement_id for _ in range(2)}
        return ("yes" if len(ids) == 1 else "no, it gives others"), len(ids) == 1

    async def _list_statements(self) -> tuple[str, bool]:
        submitted, found = await self._means.take("load", "first"), await self._means.take("find", "first")
        if not found.statement_id:
            return "no, it lists none of this name", False
        is_same = found.statement_id == submitted.statement_id
        return ("yes" if is_same else f"no, it gives {found.statement_id}"), is_same

    async def _again(self) -> tuple[str, bool]:
        return await self._means.refuse("first", 2, "gate_batch", "gate")

    async def _other(self) -> tuple[str, bool]:
        return await self._means.refuse("again", 1, "gate_files", "files")

    async def _resolve(self) -> tuple[str, bool]:
        loaded = {row[0]: row[1] for row in (await self._means.take("resolve", "first")).rows}
        unloaded = {row[0]: row[1] for row in (await self._means.take("resolve", "short", 2)).rows}
        if not loaded.get("loaded") or unloaded.get("loaded") or unloaded.get("fenced") != "2":
            return f"no: of a loaded batch it says {loaded}, of another {unloaded}", False
        return await self._means.refuse("short", 2, "gate_fence", "gate")
