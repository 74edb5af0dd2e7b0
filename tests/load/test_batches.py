"""What a batch is called, and what it consists of."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fastetl.load import batches
from fastetl.model import FileItem

ids = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), min_size=1, max_size=20, unique=True)


def make_file(file_id: str, **changes: object) -> FileItem:
    known = {
        "file_id": file_id, "pipeline": "p", "key": f"data/p/{file_id}.csv.gz", "layout_id": "l", "checksum": "",
        "bytes": 10, "rows": 3, "rejects": 0, "rejects_key": "", "version_min": "1", "version_max": "2",
        "changed_min": "2026-01-01 00:00:00.000000", "changed_max": "2026-01-02 00:00:00.000000", "created": 1,
    }  # fmt: skip
    return FileItem(**(known | changes))


@given(ids, st.randoms())
def test_a_batch_is_named_by_its_files_in_any_order(file_ids: list[str], random: object) -> None:
    shuffled = list(file_ids)
    random.shuffle(shuffled)
    name = batches.build_batch_id("p", "i", file_ids)
    assert name == batches.build_batch_id("p", "i", shuffled)
    others = [("q", "i", file_ids), ("p", "j", file_ids), ("p", "i", file_ids[1:])]
    assert all(name != batches.build_batch_id(*other) for other in others)


@given(ids)
def test_members_come_back_as_they_were(file_ids: list[str]) -> None:
    files = [make_file(file_id) for file_id in file_ids]
    batch = batches.build_batch("p", "i", files, "bucket", ("m", "f"))
    assert batches.list_members(batch) == sorted(file_ids)
    assert batches.build_members(files).decode().splitlines() == [f"{file_id},3" for file_id in sorted(file_ids)]


def test_every_entry_of_a_manifest_is_mandatory() -> None:
    manifest = json.loads(batches.build_manifest("b", [make_file("a"), make_file("b")]))
    assert manifest == {
        "entries": [
            {"url": "s3://b/data/p/a.csv.gz", "mandatory": True},
            {"url": "s3://b/data/p/b.csv.gz", "mandatory": True},
        ]
    }


@given(ids.filter(lambda found: len(found) > 1), st.data())
def test_a_split_loses_no_file_and_leaves_no_part_empty(file_ids: list[str], data: st.DataObject) -> None:
    suspects = data.draw(st.lists(st.sampled_from(file_ids)))
    parts = batches.split([make_file(file_id) for file_id in file_ids], suspects)
    assert all(parts)
    assert sorted(file.file_id for part in parts for file in part) == sorted(file_ids)
    if 0 < len(set(suspects)) < len(file_ids):
        assert {file.file_id for file in parts[0]} == set(suspects)
