"""Questions to a real account: each is asked, whatever became of the others, and says what follows from its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import msgspec

from fastetl.errors import FastetlError


class Verdict(msgspec.Struct, frozen=True):
    """The answer to one question."""

    question: str
    answer: str
    follows: str
    """What it means for whoever deploys."""
    as_expected: bool
    matters: bool
    """Whether an answer that is not as expected makes loads fail, stop or be wrong; otherwise fastetl is right all the
    same, and its maintainers want to hear of it."""

    @property
    def is_bad(self) -> bool:
        """Whether something has to be done before the first load."""
        return self.matters and not self.as_expected


class Question(msgspec.Struct, frozen=True):
    """One question, and how it is asked."""

    text: str
    ask: Callable[[], Awaitable[tuple[str, bool]]]
    """Gives the answer, and whether it is as expected."""
    if_so: str
    """What follows where it is."""
    if_not: str
    matters: bool = True


async def ask_each(questions: Iterable[Question]) -> list[Verdict]:
    """Ask questions one after the other; what cannot be asked is an answer as well.

    Args:
        questions: in their order.
    """
    verdicts = []
    for each in questions:
        try:
            answer, as_expected = await each.ask()
        except FastetlError as error:
            why = f"could not be asked: {error}"
            verdicts.append(Verdict(each.text, why, "mend that, and ask again", as_expected=False, matters=True))
        else:
            follows = each.if_so if as_expected else each.if_not
            verdicts.append(Verdict(each.text, answer, follows, as_expected, each.matters))
    return verdicts
