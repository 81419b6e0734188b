"""Parquet sources: bytes, Hugging Face's images and paths, in any row groups; damaged files are refused in one line."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.batch_prediction import parquet_span
from hrnet_deploy.batch_prediction.inputs import find_inputs
from hrnet_deploy.batch_prediction.parquet_span import list_parquet
from hrnet_deploy.errors import HrnetDeployError, ImageError, MissingDependencyError, MissingFileError, UsageError


def write(arrow, path, values, kind, rows=4, column="image"):
    table = arrow.table({"id": list(range(len(values))), column: arrow.array(values, kind)})
    arrow.parquet.write_table(table, path, row_group_size=rows)
    return path


@given(values=st.lists(st.binary(min_size=1, max_size=50), max_size=40), rows=st.integers(1, 9), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_any_rows_are_read_back(arrow, tmp_path, values, rows, data):
    path = write(arrow, tmp_path / "t.parquet", values, arrow.binary(), rows)
    span = list_parquet(path, "t.parquet", "image")
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    read = [(image.name, image.read()) for image in span.cut(start, stop).images()]
    assert read == [(f"t.parquet#{row}", values[row]) for row in range(start, stop)]


@pytest.mark.parametrize("kind", ["large_binary", "fixed", "dictionary", "huggingface"])
def test_columns_of_bytes(arrow, tmp_path, kind):
    plain = [b"one", b"two", b"six", b"two", b"ten"]
    values, types = plain, {"large_binary": arrow.large_binary(), "fixed": arrow.binary(3)}
    types["dictionary"] = arrow.dictionary(arrow.int32(), arrow.binary())
    types["huggingface"] = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
    if kind == "huggingface":
        values = [{"bytes": content, "path": "x.jpg"} for content in plain]
    path = write(arrow, tmp_path / "t.parquet", values, types[kind], 2)
    span = list_parquet(path, "t", "image")
    assert [image.read() for image in span.images()] == plain


def test_null_is_an_image_that_cannot_be_used(arrow, tmp_path):
    kinds = [arrow.binary(), arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})]
    for values, kind in zip(([b"x", None, b""], [{"bytes": b"x"}, None, {"bytes": None}]), kinds, strict=True):
        span = list_parquet(write(arrow, tmp_path / "t.parquet", values, kind), "t", "image")
        good, *bad = span.images()
        assert good.read() == b"x"
        for image in bad:
            with pytest.raises(ImageError, match="must not be empty"):
                image.read()


def test_column_of_paths_is_a_list_of_files(arrow, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    path = write(arrow, tmp_path / "t.parquet", ["a.jpg", "no/b.jpg"], arrow.string(), column="path")
    inputs = find_inputs([str(path)], column="path")
    assert [image.name for span in inputs.spans for image in span.images()] == ["a.jpg", "no/b.jpg"]
    assert next(inputs.spans[0].images()).read() == b"a"


@pytest.mark.parametrize("text", ["../a.jpg", "/etc/passwd", "a/../../b.jpg", ".."])
def test_paths_stay_in_their_folder(arrow, tmp_path, text):
    path = write(arrow, tmp_path / "t.parquet", ["a.jpg", text], arrow.string(), column="path")
    with pytest.raises(UsageError, match=r"paths in .* must stay in .*--root"):
        find_inputs([str(path)], column="path")


def test_unusable_columns_and_files_are_named(arrow, tmp_path):
    path = write(arrow, tmp_path / "t.parquet", [b"x"], arrow.binary())
    for column, text in (("nothing", "column must be one of .* It has: id, image"), ("id", "must hold bytes or paths")):
        with pytest.raises(UsageError, match=text):
            list_parquet(path, "t", column)
    with pytest.raises(UsageError, match="needs the name of its column"):
        find_inputs([str(path)])
    with pytest.raises(MissingFileError, match="must exist"):
        list_parquet(tmp_path / "none.parquet", "none", "image")
    nulls = write(arrow, tmp_path / "n.parquet", ["a.jpg", None], arrow.string())
    with pytest.raises(UsageError, match="got null in row 1"):
        list_parquet(nulls, "n", "image")
    itself = write(arrow, tmp_path / "s.parquet", ["s.parquet"], arrow.string())
    with pytest.raises(UsageError, match=r"must name images, got 's\.parquet'"):
        find_inputs([str(itself)], column="image")


@given(noise=st.binary(min_size=1, max_size=30), place=st.floats(0, 1))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@pytest.mark.slow
def test_any_damage_is_one_line(arrow, tmp_path, noise, place):
    path = write(arrow, tmp_path / "t.parquet", [bytes([n]) * 99 for n in range(20)], arrow.binary())
    content = bytearray(path.read_bytes())
    start = int(place * (len(content) - len(noise)))
    content[start : start + len(noise)] = noise
    path.write_bytes(content)
    problem = ""
    try:
        for image in list_parquet(path, "t", "image").images():
            image.read()
    except HrnetDeployError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
def test_a_small_file_that_inflates_is_one_line(arrow, tmp_path):
    value = arrow.array([bytes(1 << 28)], arrow.binary())
    table = arrow.table({"image": arrow.DictionaryArray.from_arrays(arrow.array([0] * 40), value)})
    options = {"compression": "zstd", "write_statistics": False, "store_schema": False}
    arrow.parquet.write_table(table, tmp_path / "t.parquet", dictionary_pagesize_limit=1 << 30, **options)
    assert (tmp_path / "t.parquet").stat().st_size < 1 << 17
    with pytest.raises(UsageError, match=r"Parquet file must be readable, got .*t\.parquet \("):
        list(list_parquet(tmp_path / "t.parquet", "t", "image").images())


def test_a_relative_path_follows_the_current_folder(arrow, tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(arrow, tmp_path / name / "t.parquet", [f"{name}.jpg"], arrow.string())
    for name in ("a", "b"):  # the second one finds a process that was started in the first folder
        monkeypatch.chdir(tmp_path / name)
        assert list_parquet(Path("t.parquet"), "t", "image") == [f"{name}.jpg"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("TABLE_ROWS", "at most 20 rows, got 30"),
        ("LIST_LINES", "at most 20 rows, got 30"),
        ("LIST_FILE_BYTES", "must hold paths, got longer texts at row 4"),
    ],
)
def test_rows_and_paths_are_bounded(arrow, tmp_path, monkeypatch, limit, message):
    path = write(arrow, tmp_path / "t.parquet", ["a.jpg"] * 30, arrow.string())
    monkeypatch.setattr(parquet_span, limit, 20)
    with pytest.raises(UsageError, match=message):
        list_parquet(path, "t", "image")


def test_missing_package_is_named(monkeypatch, tmp_path):
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.types"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hrnet-deploy\[parquet\]'"):
        list_parquet(tmp_path / "t.parquet", "t", "image")
