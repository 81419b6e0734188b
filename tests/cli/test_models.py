"""hrnet-models: data on stdout, words on stderr."""

import json
import subprocess
import sys

import pytest

from hrnet_deploy.cli import models
from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.zoo import entries


def run(*argv):
    return models.run(models.parse_args(list(argv)))


def test_table_has_every_row_aligned(capsys):
    assert run() == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["name", "params", "M", "GMACs", "top-1", "top-5", "mIoU", "input", "weights"]
    assert [row.split()[0] for row in rows] == [entry.name for entry in entries()]
    column = header.index("input")
    assert all(row[column - 1] == " " and row[column].isdigit() for row in rows)
    assert err.splitlines()[-1] == "Next: hrnet-export hrnet_w18 --weights hrnet_w18.mm_in1k"


def test_row_says_it_all(capsys):
    run("hrnet_w18.mm_in1k")
    assert capsys.readouterr().out.splitlines()[1].split() == [
        *("hrnet_w18.mm_in1k", "21.30", "4.28", "76.75", "93.44", "-", "224x224", "mmpretrain"),
    ]


def test_by_hand_rows_are_marked_and_explained(capsys):
    run("hrnetv2_w48.cityscapes")
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[-4:] == ["81.1", "1024x2048", "official", "*"]
    assert "download by hand" in err
    assert "https://1drv.ms/" in err
    assert "--weights hrnet_w48_cityscapes_cls19_1024x2048_trainset.pth" in err


def test_plain_word_matches_a_part_of_the_name(capsys):
    run("cutmix")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_wildcards_match_the_whole_name(capsys):
    run("*.cityscapes")
    assert len(capsys.readouterr().out.splitlines()) == 4
    with pytest.raises(UsageError):
        run("cityscape?")


def test_json_holds_full_records(capsys):
    run("--json", "hrnet_w18.*")
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 10
    record = next(r for r in records if r["tag"] == "mm_in1k")
    assert record["params"] == 21_295_164
    assert record["digest"] == "0c10b180"
    assert record["task"] == "classification"
    assert record["by_hand"] is False
    assert record["preprocessing"]["size_hw"] == [224, 224]
    assert record["preprocessing"]["interpolation"] == "bilinear"


def test_quiet_leaves_only_data(capsys):
    run("-q", "hrnet_w30")
    assert capsys.readouterr().err == ""


def test_no_match_names_the_closest(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hrnet-models", "hrnet_18"])
    assert models.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hrnet-models: pattern must match a zoo name, got 'hrnet_18'. Did you mean hrnet_w")
    assert len(err.splitlines()) == 1


def test_as_a_command():
    code = "import sys; from hrnet_deploy.cli.models import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "w64"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr.splitlines()[-1] == "Next: hrnet-export hrnet_w64 --weights hrnet_w64.mm_in1k"
