"""The ledger's values come back as they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastetl.aws.ledger.items import parse_item, write_item
from fastetl.model import Batch, Head
from fastetl.versions import EpochStart

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
heads = st.builds(
    Head,
    pipeline=text,
    generation=st.integers(0, 2**53),
    open=st.lists(text, max_size=8).map(tuple),
    installation=text,
    paused=text,
    paused_by=st.sampled_from(["", "operator", "fastetl"]),
    load_requested=st.booleans(),
    epochs=st.lists(st.builds(EpochStart, st.integers(0, 9999), st.integers(0, 2**40)), max_size=3).map(tuple),
)


@given(heads)
def test_a_head_comes_back_as_it_was(head: Head) -> None:
    row = write_item({name: getattr(head, name) for name in head.__struct_fields__})
    assert parse_item(row | {"pk": {"S": "P#x"}}, Head) == head


@given(st.builds(Batch, steps=st.lists(text, max_size=3).map(tuple), suspects=st.lists(text, max_size=3).map(tuple)))
def test_a_batch_comes_back_as_it_was(batch: Batch) -> None:
    assert parse_item(write_item({name: getattr(batch, name) for name in batch.__struct_fields__}), Batch) == batch
