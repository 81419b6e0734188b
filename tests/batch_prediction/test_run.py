"""Batch prediction: the same bytes from one process, several, and interrupted runs; errors are rows."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
from helpers.v2_server import Scorer, serving, toy_card

from hrnet_deploy import Predictor, predict_dataset
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingFileError, UsageError

CPU = {"device": "cpu", "backend": "onnxruntime"}


def rows(folder):
    parts = sorted(folder.glob("part-*.jsonl")) or sorted(folder.glob("part-*/rows.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_rows_are_what_the_predictor_returns(photos_onnx, images, tmp_path):
    done = predict_dataset(photos_onnx, images, tmp_path / "out", chunk=5, topk=3, **CPU)
    assert (done.images, done.errors, done.parts, done.resumed) == (12, 1, 3, 0)
    found = rows(tmp_path / "out")
    files = sorted(path for path in images.rglob("*") if path.is_file())
    assert [row["index"] for row in found] == list(range(12))
    assert [row["name"] for row in found] == [str(path) for path in files]
    with Predictor(photos_onnx, **CPU) as predictor:
        for row, path in zip(found, files, strict=True):
            if path.name == "07.png":
                assert "'07.png' cannot be decoded" in row["error"]
                continue
            result = predictor.predict(path)
            assert (row["pred_label"], row["pred_class"], row["pred_score"]) == (
                result.index,
                result.label,
                result.score,
            )
            assert list(zip(row["pred_labels"], row["pred_scores"], strict=True)) == [
                (int(index), float(score)) for index, score in zip(result.indices[:3], result.scores[:3], strict=True)
            ]


@pytest.mark.slow
def test_masks_are_those_of_the_predictor(street_onnx, images, tmp_path):
    done = predict_dataset(street_onnx, images, tmp_path / "out", chunk=5, format="masks", **CPU)
    assert (done.images, done.errors, done.parts) == (12, 1, 3)
    with Predictor(street_onnx, **CPU) as predictor:
        for row in rows(tmp_path / "out"):
            if "error" not in row:
                part = tmp_path / "out" / f"part-{row['index'] // 5:06d}"
                mask = cv2.imread(str(part / row["mask"]), cv2.IMREAD_UNCHANGED)
                assert (mask == predictor.predict(row["name"]).mask).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_executor_gives_the_same_bytes(photos_onnx, images, tmp_path, arrow, tree_digest, form):
    given = {"chunk": 3, "format": form, **CPU}
    predict_dataset(photos_onnx, images, tmp_path / "one", **given)
    predict_dataset(photos_onnx, images, tmp_path / "two", executor="processes:2", **given)
    with ThreadPoolExecutor(2) as pool:
        predict_dataset(photos_onnx, images, tmp_path / "threads", executor=pool, threads=1, **given)
    one = tree_digest(tmp_path / "one")
    assert sorted(one) == ["_manifest.json", *(f"part-{number:06d}.{form}" for number in range(4))]
    assert tree_digest(tmp_path / "two") == one
    assert tree_digest(tmp_path / "threads") == one
    if form == "parquet":  # other files of the folder do not disturb its readers
        assert arrow.parquet.read_table(tmp_path / "one")["index"].to_pylist() == list(range(12))


@pytest.mark.slow
def test_folder_shard_and_table_give_the_same_predictions(photos_onnx, images, tmp_path, arrow):
    files = sorted(path for path in images.rglob("*") if path.is_file())
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for path in files:
            archive.add(path, path.name)
            extra = tarfile.TarInfo(f"{path.stem}.json")
            archive.addfile(extra, io.BytesIO(b""))
    table = arrow.table({"image": [path.read_bytes() for path in files], "path": [str(path) for path in files]})
    arrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=5)
    (tmp_path / "list.txt").write_text("".join(f"{path.relative_to(tmp_path)}\n" for path in files))
    sources = {
        "folder": ([images], {}),
        "tar": ([tmp_path / "s.tar"], {}),
        "bytes": ([tmp_path / "t.parquet"], {"column": "image"}),
        "paths": ([tmp_path / "t.parquet"], {"column": "path"}),
        "list": ([f"@{tmp_path / 'list.txt'}"], {}),
    }
    found = {}
    for name, (given, options) in sources.items():
        done = predict_dataset(photos_onnx, given, tmp_path / name, chunk=5, **options, **CPU)
        assert (done.images, done.errors) == (12, 1)
        found[name] = [(row.get("pred_labels"), row.get("pred_scores")) for row in rows(tmp_path / name)]
    assert all(each == found["folder"] for each in found.values())


@pytest.mark.slow
def test_a_second_run_skips_whole_parts(photos_onnx, images, tmp_path, tree_digest):
    def again(**changed):
        return predict_dataset(photos_onnx, images, tmp_path / "out", **{"chunk": 3, **CPU, **changed})

    again()
    before = tree_digest(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert again().resumed == 4
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")} == times
    (tmp_path / "out/part-000002.jsonl").write_text("damaged")
    (tmp_path / "out/part-000003.jsonl").unlink()
    assert again(executor="processes:1").resumed == 2
    assert tree_digest(tmp_path / "out") == before
    for changed in ({"chunk": 4}, {"topk": 2}, {"batch": 2}, {"device": "auto"}):
        with pytest.raises(UsageError, match=f"same artifact, options and inputs, got {next(iter(changed))} "):
            again(**changed)
    (images / "new.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="got images 13, was 12"):
        again()
    (images / "new.jpg").unlink()
    os.utime(images / "01.png", (1, 1))
    with pytest.raises(UsageError, match="got inputs "):
        again()
    assert tree_digest(tmp_path / "out") == before


@pytest.mark.slow
def test_another_artifact_is_refused(photos_onnx, street_onnx, images, tmp_path):
    predict_dataset(photos_onnx, images, tmp_path / "out", **CPU)
    with pytest.raises(UsageError, match="got artifact "):
        predict_dataset(street_onnx, images, tmp_path / "out", **CPU)


@pytest.fixture
def long_list(images, tmp_path):
    """A list of the same images many times: a run of some seconds."""
    files = sorted(str(path.relative_to(tmp_path)) for path in images.rglob("*") if path.is_file())
    (tmp_path / "list.txt").write_text("\n".join(files * 25))
    return f"@{tmp_path / 'list.txt'}"


@pytest.fixture
def start():
    """A function that starts the command in a process group of its own, which is killed at the end."""
    started = []

    def begin(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "hrnet_deploy", "predict", *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for_parts(folder, process, count=3):
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        progress = folder / "_progress.jsonl"
        if progress.exists() and progress.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    pytest.fail(f"no parts appeared; exit code {process.poll()}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("executor", [None, "processes:2"])
def test_interrupted_runs_continue_to_the_same_bytes(
    photos_onnx, long_list, tmp_path, tree_digest, start, how, executor
):
    words = [photos_onnx, long_list, "--chunk", 10, "--device", "cpu", "--backend", "onnxruntime"]
    words += [] if executor is None else ["--executor", executor]
    out = tmp_path / "out"
    process = start(*words, "--out", out)
    wait_for_parts(out, process)
    os.kill(process.pid, how)
    errors = process.communicate(timeout=60)[1] if how == signal.SIGINT or executor is None else ""
    if how == signal.SIGINT:
        assert process.wait() == 130
        assert errors.strip().splitlines()[-1] == "hrnet-predict: interrupted"
        assert not list(out.glob(".hrnet_deploy-*"))
    else:
        assert process.wait() == -signal.SIGKILL
    again = start(*words, "--out", out)
    message = again.communicate(timeout=120)[1]
    assert again.returncode == 2, message
    assert "from an earlier run" in message
    assert not list(out.glob(".*"))
    predict_dataset(photos_onnx, long_list, tmp_path / "whole", chunk=10, **CPU)
    assert tree_digest(out) == tree_digest(tmp_path / "whole")
    assert len(rows(out)) == 300


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find a worker")
def test_a_killed_worker_is_one_error_and_the_next_run_continues(photos_onnx, long_list, tmp_path, tree_digest, start):
    out = tmp_path / "out"
    words = [photos_onnx, long_list, "--chunk", 10, "--device", "cpu", "--backend", "onnxruntime", "--out", out]
    process = start(*words, "--executor", "processes:2")
    wait_for_parts(out, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    worker = next(pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(int(worker), signal.SIGKILL)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == DeviceError.exit_code
    assert "Run again" in errors.strip().splitlines()[-1]
    predict_dataset(photos_onnx, long_list, tmp_path / "whole", chunk=10, **CPU)
    assert predict_dataset(photos_onnx, long_list, out, chunk=10, **CPU).resumed >= 3
    assert tree_digest(out) == tree_digest(tmp_path / "whole")


@pytest.mark.slow
def test_two_drivers_take_turns_in_one_folder(photos_onnx, long_list, tmp_path, tree_digest, start):
    words = [photos_onnx, long_list, "--chunk", 30, "--device", "cpu", "--backend", "onnxruntime"]
    both = [start(*words, "--out", tmp_path / "out") for _ in range(2)]
    texts = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [2, 2]
    assert sorted("10 of them from an earlier run" in text for text in texts) == [False, True]
    predict_dataset(photos_onnx, long_list, tmp_path / "whole", chunk=30, **CPU)
    assert tree_digest(tmp_path / "out") == tree_digest(tmp_path / "whole")


@pytest.mark.slow
def test_inputs_that_change_during_the_run_end_it(photos_onnx, images, tmp_path, monkeypatch):
    from hrnet_deploy.batch_prediction import run

    found = run.find_inputs

    def change(*given, **options):
        inputs = found(*given, **options)
        (images / "01.png").write_bytes(b"other")
        return inputs

    monkeypatch.setattr(run, "find_inputs", change)
    with pytest.raises(UsageError, match="input must stay as it was listed"):
        predict_dataset(photos_onnx, images, tmp_path / "out", **CPU)


@pytest.mark.slow
def test_an_artifact_that_changes_during_the_run_ends_it(photos_onnx, images, tmp_path, monkeypatch):
    from hrnet_deploy.batch_prediction import run

    copy = tmp_path / "copy.onnx"
    shutil.copy(photos_onnx, copy)
    found = run.find_inputs

    def change(*given, **options):
        copy.write_bytes(copy.read_bytes() + b"\0")
        return found(*given, **options)

    monkeypatch.setattr(run, "find_inputs", change)
    with pytest.raises(UsageError, match="artifact must be the same for every worker"):
        predict_dataset(copy, images, tmp_path / "out", **CPU)


def test_served_models_predict_too(images, tmp_path):
    card = toy_card()
    with serving(Scorer(card), card) as server:
        done = predict_dataset(server.url, images, tmp_path / "out", chunk=5)
        assert (done.images, done.errors) == (12, 1)
        again = {"chunk": 5, "threads": 1}
        if json.loads((tmp_path / "out/_manifest.json").read_text())["run"]["artifact"] == server.url:
            with pytest.raises(UsageError, match="must report its SHA-256 to continue a run"):
                predict_dataset(server.url, images, tmp_path / "out", **again)
        else:
            assert predict_dataset(server.url, images, tmp_path / "out", **again).resumed == 3


def test_an_unwritable_folder_is_one_line(photos_onnx, images, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(UsageError, match="output must be writable, got"):
            predict_dataset(photos_onnx, images, out, **CPU)


def test_options_are_checked_before_any_image(photos_onnx, street_onnx, images, tmp_path):
    for options, kind, text in (
        ({"format": "csv"}, UsageError, "format must be one of jsonl, parquet, masks, got 'csv'"),
        ({"format": "masks"}, UsageError, "format masks needs a model for segmentation"),
        ({"topk": 0}, UsageError, "topk must be at least 1"),
        ({"chunk": 0}, UsageError, "chunk must be 1 to 1000000000, got 0"),
        ({"batch": 0}, UsageError, "batch must be at least 1"),
        ({"executor": "threads:2"}, UsageError, "executor must be one of"),
        ({"column": "image"}, UsageError, "column applies to Parquet files"),
    ):
        with pytest.raises(kind, match=text):
            predict_dataset(photos_onnx, images, tmp_path / "out", **options, **CPU)
    with pytest.raises(UsageError, match="topk applies to classification only"):
        predict_dataset(street_onnx, images, tmp_path / "out", topk=3, **CPU)
    with pytest.raises(MissingFileError, match="artifact must be a file"):
        predict_dataset(tmp_path / "none.onnx", images, tmp_path / "out")
    (tmp_path / "bare.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        predict_dataset(tmp_path / "bare.onnx", images, tmp_path / "out")
