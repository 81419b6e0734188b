"""Four files, whole or not at all; the JSON says everything and comes back as it was."""

import dataclasses
import json

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.report import write_report
from hrnet_deploy.report.report import SCHEMA
from hrnet_deploy.report.write import check_output, to_record


def test_four_files_and_nothing_else(any_report, tmp_path):
    paths = write_report(any_report, tmp_path / "new" / "folder")
    assert sorted(paths) == ["csv", "html", "json", "md"]
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == sorted(f"report.{kind}" for kind in paths)
    for path in paths.values():
        for row in any_report.rows:
            assert row.label.split("<")[0] in path.read_text(encoding="utf-8")


def test_json_comes_back(any_report, tmp_path):
    path = write_report(any_report, tmp_path)["json"]
    assert json.loads(path.read_text(encoding="utf-8")) == to_record(any_report)


def test_json_says_everything(photos_report):
    found = json.loads(json.dumps(to_record(photos_report)))
    assert found["schema"] == SCHEMA
    assert found["command"] == "hrnet-report '<x>'"
    assert [row["letter"] for row in found["rows"]] == ["R", "A", "B"]
    assert [row["reference"] for row in found["rows"]] == [True, False, False]
    row = found["rows"][2]
    assert row["evaluation"]["model"]["card"]["precision"] == "int8"
    assert row["drops"][0]["points"] == pytest.approx(25)
    assert row["changed_images"] == len(row["images"]) == 3
    assert row["agreement"] == pytest.approx(0.75)
    assert row["status"] == "measured"
    assert set(row["latency"]) == {"median_ms", "p95_ms", "runs"}
    assert found["machine"]["cores"] >= 1
    assert found["verdict"]["headline"]


def test_json_has_the_steps_from_the_checkpoint(photos_report, street_report):
    names = [step.name for step in photos_report.waterfall]
    assert [step["name"] for step in to_record(photos_report)["waterfall"]] == names
    assert to_record(street_report)["waterfall"] == []


def test_a_name_of_other_bytes_is_written_all_the_same(photos_report, tmp_path):
    odd = dataclasses.replace(photos_report, command="hrnet-report \udcff.onnx")
    for path in write_report(odd, tmp_path).values():
        path.read_text(encoding="utf-8")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    place = tmp_path / "taken"
    place.write_text("mine")
    with pytest.raises(UsageError, match=r"report needs a folder, got the file .*taken\. Choose another --out\."):
        check_output(place)
    assert place.read_text() == "mine"


def test_checking_leaves_nothing_behind(tmp_path):
    check_output(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
