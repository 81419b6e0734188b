"""Calibration tables, unfinished calibrations and journals from strangers."""

import io
import json
import logging
import os
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.calibration.collector import collect
from hrnet_deploy.calibration.histogram import BINS
from hrnet_deploy.calibration.saved_arrays import read_arrays
from hrnet_deploy.calibration.table import CalibrationTable, Provenance, TensorRange
from hrnet_deploy.errors import ArtifactError, HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.evaluation.journal import Journal
from hrnet_deploy.evaluation.metrics.classification import Ranking
from hrnet_deploy.limits import CALIBRATION_STATE_BYTES, JSON_FILE_BYTES
from hrnet_deploy.spec import TensorSpec

TABLE = CalibrationTable(
    tensors={"t": TensorRange(-1.0, 2.0, {"entropy": 1.5}, 10, 1, tuple(float(i) for i in range(16)))},
    method="entropy",
    provenance=Provenance(graph_sha256="a" * 64, image_list_sha256="b" * 64, images=4, preprocessing={}),
)


class Identity:
    """An engine that returns its input."""

    inputs = outputs = (TensorSpec("x", "float32", ("N", 4)),)

    def run(self, feed):
        return dict(feed)


def batches(first):
    return iter([np.ones((2, 4), np.float32)] * (3 - first))


def collected(state):
    return collect(Identity(), {"x": "t"}, batches, state=state, key="k")["t"]


def arrays(**changes):
    """What an interrupted run saves after one batch."""
    counts = np.zeros((1, BINS), np.int64)
    counts[0, BINS // 2] = 8
    return {
        "key": np.array("k"),
        "tensors": np.array(["t"], np.str_),
        "done": np.array([1, 2], np.int64),
        "counts": counts,
        "ranges": np.array([(2.0, 1.0, 1.0, 0)], np.float64),
    } | changes


def npz(content, save=np.savez):
    stream = io.BytesIO()
    save(stream, **content)
    return stream.getvalue()


def lying(shape):
    """An .npz whose array claims a shape that it does not have."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("key", "tensors", "done", "counts", "ranges"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(64))
    return stream.getvalue()


def bomb():
    """An .npz that is compressed a thousandfold."""
    return npz({"key": np.zeros(20_000_000, np.int64)}, np.savez_compressed)


GOOD = npz(arrays())
STATES = {
    "empty": b"",
    "text": b"no archive",
    "cut": GOOD[:-30],
    "half": GOOD[: len(GOOD) // 2],
    "other bytes": GOOD[:200] + bytes(100) + GOOD[300:],
    "bomb": bomb(),
    "huge shape": lying((1 << 40,)),
    "overflowing shape": lying((1 << 62, 1 << 62)),
    "negative shape": lying((-1,)),
    "objects": npz(arrays(counts=np.array([None], object))),
    "missing": npz({"key": np.array("k")}),
    "other bins": npz(arrays(counts=np.zeros((1, 7), np.int64))),
    "negative counts": npz(arrays(counts=-np.ones((1, BINS), np.int64))),
    "negative batches": npz(arrays(done=np.array([-1, 2]))),
    "texts": npz(arrays(done=np.array(["a", "b"]))),
    "scalar": npz(arrays(done=np.array(7))),
    "nan": npz(arrays(ranges=np.full((1, 4), np.nan))),
    "limit": npz(arrays(ranges=np.array([(3.0, 1.0, 1.0, 0)]))),
    "more rows": npz(arrays(ranges=np.zeros((5, 4)))),
    "key": npz(arrays(key=np.zeros((3, 3)))),
}


def test_a_whole_state_is_continued(tmp_path):
    (tmp_path / "state").write_bytes(GOOD)
    assert collected(tmp_path / "state").count == 24


@pytest.mark.parametrize("kind", STATES)
def test_a_damaged_state_starts_afresh_with_one_warning(tmp_path, kind, caplog):
    (tmp_path / "state").write_bytes(STATES[kind])
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert collected(tmp_path / "state").count == 24
    assert time.monotonic() - began < 10
    (record,) = caplog.records
    assert "must be whole" in record.getMessage()
    assert "\n" not in record.getMessage()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_any_damage_is_read_or_one_of_pythons_errors(tmp_path_factory, position, change):
    path = tmp_path_factory.mktemp("state") / "state"
    path.write_bytes(GOOD[:position] + change + GOOD[position + len(change) :])
    collected(path)


def test_a_state_beyond_the_limit_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "state").touch()
    os.truncate(tmp_path / "state", CALIBRATION_STATE_BYTES + 1)
    with pytest.raises(UsageError, match="must have at most"):
        read_arrays(tmp_path / "state")
    with pytest.raises(MissingFileError):
        read_arrays(tmp_path / "none")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(TABLE.to_json()) - 1), st.text(min_size=1, max_size=4))
def test_a_table_with_any_change_is_refused(position, change):
    text = TABLE.to_json()
    changed = text[:position] + change + text[position + len(change) :]
    if json.dumps(changed) != json.dumps(text):
        try:
            assert CalibrationTable.from_json(changed) == TABLE  # white space alone
        except ArtifactError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("kind", ["pipe", "device", "large", "folder"])
def test_special_and_large_tables_are_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "table.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.touch()
        os.truncate(path, JSON_FILE_BYTES + 1)
    else:
        path.mkdir()
    with pytest.raises(ArtifactError):
        CalibrationTable.load(path)


def journal(tmp_path, *lines):
    found = Journal(tmp_path, {"a": 1})
    found.open()
    found.write(RECORD)
    with found.path.open("ab") as file:
        file.writelines(lines)
    return found


RECORD = ImageRecord(0, "a" * 64, (Ranking((1,), (0.5,)),))


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"null\n",
        b"7\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"index": 1}\n',
        b'{"index": 1, "content": "x", "answers": 7}\n',
        b'{"index": 1, "content": "x", "answers": [null]}\n',
        b'{"index": 1, "content": "x", "answers": [{"top": [200000], "scores": [1]}]}\n',
        b'{"index": 1, "content": "x", "answers": [{"top": [1], "scores": ["x"]}]}\n',
        b'{"index": 1, "content": "x", "answers": [{"confusion": [], "moves": [], "lost": 0, "gained": 0}]}\n',
        b'{"index": ' + b"9" * 5000 + b"}\n",
        b"[" * 100_000 + b"\n",
    ],
    ids=range(13),
)
def test_damaged_lines_of_a_journal_are_left_out(tmp_path, line):
    found = journal(tmp_path, line)
    assert [record.index for record in found.read(9, 1, 100_000)] == [0]


def test_a_line_without_an_end_takes_no_more_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.evaluation.journal.JOURNAL_LINE_BYTES", 1000)
    found = journal(tmp_path, b" " * 5000 + b"\n", json.dumps({**RECORD.to_json(), "index": 2}).encode() + b"\n")
    assert [record.index for record in found.read(9, 1, 10)] == [0, 2]


def test_a_journal_that_is_no_regular_file_is_refused_without_waiting(tmp_path):
    found = Journal(tmp_path, {"a": 1})
    os.mkfifo(found.path)
    with pytest.raises(HrnetDeployError):
        list(found.read(9, 1, 10))
    with pytest.raises(HrnetDeployError):
        found.open()
