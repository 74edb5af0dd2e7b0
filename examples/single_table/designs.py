"""Five designs, each with the documents that it is rebuilt from. Items are made up, the same each time.

A design gives pairs of a kind and an item. The kind is what the design's documents call it; no item holds it unless the
design itself does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

Item = dict[str, Any]
PEOPLE = ("ann", "bob", "carla", "dev", "eva", "finn", "gia", "hugo", "ida", "jon", "kim", "lea", "max", "noor", "olaf")
PLACES = ("Aachen", "Bergen", "Cork", "Delft", "Elche")


class Design(NamedTuple):
    """One design."""

    keys: tuple[str, ...]
    source: str
    """The documents that it is rebuilt from."""
    make: Callable[[Random], Iterator[tuple[str, Item]]]

    def build_items(self, seed: int = 0) -> list[tuple[str, Item]]:
        """Build made-up items with their kinds.

        Args:
            seed: other items for another number.
        """
        return list(self.make(Random(seed)))  # noqa: S311 - made-up items


def write_item(**attributes: object) -> Item:
    """Write an item as DynamoDB's API does.

    Args:
        attributes: texts, numbers, booleans, lists and dictionaries; what is None is left out.
    """
    return {name: _write_value(value) for name, value in attributes.items() if value is not None}


def _write_value(value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": str(value)}
        case list():
            return {"L": [_write_value(each) for each in value]}
        case dict():
            return {"M": {name: _write_value(each) for name, each in value.items()}}
        case _:
            return {"S": str(value)}


def _day(chance: Random) -> str:
    return f"2026-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"


def _social_network(chance: Random) -> Iterator[tuple[str, Item]]:
    people = [f"u#{number}" for number in range(10_001, 10_031)]
    for user in people:
        info = {"name": chance.choice(PEOPLE), "content": "hello", "imageUrl": f"https://example.com/{user[2:]}.png"}
        yield "user information", write_item(PK=user, SK="info", **info)
        yield "follower count", write_item(PK=user, SK="count", **{"follower#": 3, "following#": 4, "post#": 2})
        for other in chance.sample(people, 4):
            yield "follower", write_item(PK=f"{user}#follower", SK=other)
            yield "followed", write_item(PK=f"{other}#following", SK=user)
        for number in chance.sample(range(90_000), 2):
            post = f"p#{number}"
            yield "post", write_item(PK=f"{user}#post", SK=post, content="a post", imageUrl="x", timestamp=number)
            yield "like count", write_item(PK=f"{post}#likecount", SK="count", etc=number)
            for other in chance.sample(people, 3):
                yield "timeline", write_item(PK=f"{other}#timeline", SK=f"{post}#{user}", ttl=1_800_000_000 + number)
                yield "like", write_item(PK=f"{post}#likelist", SK=other)


def _shop(chance: Random) -> Iterator[tuple[str, Item]]:
    """Each customer with addresses in a map; each order with its items and a customer's view of it."""
    for name in PEOPLE:
        customer = f"CUSTOMER#{name}"
        addresses = {chance.choice(("home", "work")): {"city": chance.choice(PLACES), "street": "High Street 1"}}
        yield (
            "customer",
            write_item(
                PK=customer,
                SK=customer,
                Username=name,
                Name=name.title(),
                Email=f"{name}@example.com",
                Addresses=addresses,
            ),
        )
        yield (
            "customer email",
            write_item(PK=f"CUSTOMEREMAIL#{name}@example.com", SK=f"CUSTOMEREMAIL#{name}@example.com", Username=name),
        )
        for number in chance.sample(range(10_000, 99_999), 3):
            status = chance.choice(("PLACED", "SHIPPED", "DELIVERED"))
            yield "order", write_item(
                PK=customer, SK=f"#ORDER#{number}", OrderId=number, CreatedAt=_day(chance), Status=status,
                TotalAmount=chance.randint(1, 999), GSI1PK=f"ORDER#{number}", GSI1SK=f"ORDER#{number}",
            )  # fmt: skip
            for line in range(chance.randint(1, 4)):
                key = f"ORDER#{number}#ITEM#{line}"
                yield "order item", write_item(
                    PK=key, SK=key, OrderId=number, ItemId=line, Description="a thing", Price=chance.randint(1, 99),
                    GSI1PK=f"ORDER#{number}", GSI1SK=f"ITEM#{line}",
                )  # fmt: skip


def _software_as_a_service(chance: Random) -> Iterator[tuple[str, Item]]:
    """Organizations, their members, and what both do; `Type` says which, and users have a type of their own."""
    for org in ("acme", "berkshire", "globex", "initech", "umbrella"):
        pk = f"ORG#{org}"
        plan = chance.choice(("Free", "Pro", "Enterprise"))
        yield "Organization", write_item(PK=pk, SK=f"METADATA#{org}", Type="Organization", OrgName=org, PlanType=plan)
        for user in chance.sample(PEOPLE, 6):
            role = chance.choice(("Admin", "Member"))
            yield "User", write_item(PK=pk, SK=f"USER#{user}", Type="User", UserName=user, Role=role)
        for number in range(4):
            key = f"TICKET#{number:05d}"
            history = [{"at": _day(chance), "what": "opened"}] * chance.randint(1, 3)
            yield (
                "Ticket",
                write_item(
                    PK=f"{pk}#{key}", SK=key, Type="Ticket", Title="it does not work", History=history, Open=True
                ),
            )
            for day in sorted({_day(chance) for _ in range(3)}):
                yield "Comment", write_item(PK=f"{pk}#{key}", SK=f"COMMENT#{day}", Type="Comment", Text="a comment")


def _amplify(chance: Random) -> Iterator[tuple[str, Item]]:
    def stamps() -> dict[str, str]:
        return {"createdAt": f"{_day(chance)}T10:00:00.000Z", "updatedAt": f"{_day(chance)}T11:00:00.000Z"}

    for blog in range(6):
        owner = chance.choice(PEOPLE)
        yield "Blog", write_item(id=f"b{blog}", __typename="Blog", name=f"{owner}'s", owner=owner, **stamps())
        for post in range(5):
            yield "Post", write_item(
                id=f"b{blog}p{post}", __typename="Post", title="a title", type="Post", blogID=f"b{blog}",
                tags=["a", "b"], _version=1, **stamps(),
            )  # fmt: skip
            for comment in range(chance.randint(0, 3)):
                yield "Comment", write_item(
                    id=f"b{blog}p{post}c{comment}", __typename="Comment", content="well", postID=f"b{blog}p{post}",
                    _deleted=chance.choice((None, True)), **stamps(),
                )  # fmt: skip


def _electrodb(chance: Random) -> Iterator[tuple[str, Item]]:
    for n, name in enumerate(PEOPLE):
        team, office = chance.choice(("jupiter", "mars")), chance.choice(PLACES).lower()
        yield "employee", write_item(
            pk=f"$taskapp#employeeid_{n:04d}", sk="$employee_1", employeeId=f"{n:04d}", firstName=name, team=team,
            office=office, dateHired=_day(chance), salary=chance.randint(10, 99) * 1000, manager=chance.choice(PEOPLE),
            gsi1pk=f"$taskapp#office_{office}", gsi1sk=f"$workplaces#employee_1#team_{team}", __edb_e__="employee",
            __edb_v__="1",
        )  # fmt: skip
        for task in range(chance.randint(1, 4)):
            project = chance.choice(("moon", "sun"))
            yield "task", write_item(
                pk=f"$taskapp#taskid_{n}{task}", sk=f"$task_1#project_{project}#employeeid_{n:04d}",
                taskId=f"{n}{task}", employeeId=f"{n:04d}", project=project, points=task,
                type=chance.choice(("story", "epic", "defect")),
                comments=[{"user": name, "body": "done"}] * task, __edb_e__="task", __edb_v__="1",
            )  # fmt: skip
    for place in PLACES:
        yield "office", write_item(
            pk=f"$taskapp#country_{place[:2].lower()}", sk=f"$office_1#office_{place.lower()}", office=place,
            city=place, zip="00000", address="High Street 1", __edb_e__="office", __edb_v__="1",
        )  # fmt: skip


DESIGNS = {
    "social_network": Design(
        ("PK", "SK"),
        "Amazon DynamoDB Developer Guide, Data modeling schemas: Social network schema design",
        _social_network,
    ),
    "shop": Design(
        ("PK", "SK"), "A. DeBrie, The DynamoDB Book, the chapter on an e-commerce application", _shop
    ),
    "software_as_a_service": Design(
        ("PK", "SK"), "A. DeBrie, The DynamoDB Book, organizations and users; Type as it recommends",
        _software_as_a_service,
    ),
    "amplify": Design(("id",), "AWS Amplify documentation, Data: models, with Conflict detection", _amplify),
    "electrodb": Design(("pk", "sk"), "ElectroDB documentation, the task manager of its examples", _electrodb),
}  # fmt: skip
