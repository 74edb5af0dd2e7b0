"""Files for enrichments, beside the code and on a real S3 protocol."""

from __future__ import annotations

from pathlib import Path

from fastetl.aws.references import References, find_local


def test_paths_begin_at_the_root_and_absent_files_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    layer = tmp_path / "layer.csv"
    layer.write_text("y")
    found = find_local(["a.csv", "b.csv", str(layer), "s3://b/c"], tmp_path)
    assert found == {"a.csv": tmp_path / "a.csv", str(layer): layer}


async def test_an_object_is_fetched_once_and_again_when_it_changed(aws, tmp_path: Path) -> None:
    s3_client, bucket = await aws.client("s3"), await aws.new_bucket()
    name = f"s3://{bucket}/references/airports.csv"
    await s3_client.put_object(Bucket=bucket, Key="references/airports.csv", Body=b"one")
    references = References(s3_client, [name, "beside.csv"], root=tmp_path, folder=tmp_path / "kept")
    assert references.has_all(["beside.csv"])
    assert not references.has_all(["beside.csv", name])
    assert await references.refresh(["beside.csv"]) == (False, ())
    assert await references.refresh([name]) == (True, ())
    assert references.has_all(["beside.csv", name])
    first = references.paths[name]
    assert (first.read_bytes(), first.suffix) == (b"one", ".csv")
    assert await references.refresh([name]) == (False, ())
    await s3_client.put_object(Bucket=bucket, Key="references/airports.csv", Body=b"two")
    assert await references.refresh([name]) == (True, ())
    assert references.paths[name].read_bytes() == b"two"
    assert not first.exists()
    await s3_client.delete_object(Bucket=bucket, Key="references/airports.csv")
    changed, (failure,) = await references.refresh([name])
    assert not changed
    assert "NoSuchKey; put it there" in failure
    assert references.paths[name].read_bytes() == b"two"
