"""Evaluations on executors: the results of one process, whatever the engine, the chunks and their order."""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the artifacts are written with onnx")
from helpers.cluster_peer import run_with_cluster
from helpers.color_artifact import write_color_artifact
from helpers.peer_environment import ROOT

from hrnet_deploy.errors import ArtifactError, DeviceError, ImageError, MissingFileError, UsageError
from hrnet_deploy.evaluation import EvaluationOptions, compare, distribute, evaluate, find_dataset, worker
from hrnet_deploy.evaluation.distribute import chunk_size, make_chunk, make_task
from hrnet_deploy.evaluation.loaded_model import open_models
from hrnet_deploy.executors import run_chunks
from hrnet_deploy.spec import Task


def essence(value):
    """All that a result contains but how it ran, to the last digit."""
    if hasattr(value, "to_dict"):
        value = json.loads(json.dumps(value.to_dict(), default=str))
    if isinstance(value, dict):
        return {name: essence(each) for name, each in value.items() if name not in {"run", "inference_s"}}
    return [essence(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def artifact(tmp_path, colour_net):
    """Write an artifact for a task."""

    def write(task=Task.CLASSIFICATION, name="model.onnx", classes=4):
        return write_color_artifact(tmp_path / name, colour_net(task, classes=classes).card)

    return write


@pytest.fixture
def data(photos, scenes):
    """Images for a task."""
    return lambda task: scenes(9) if task is Task.SEGMENTATION else photos(29)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_results_are_those_of_one_process(artifact, data, task, batch, size, monkeypatch):
    path, images = artifact(task), data(task)
    whole = compare(path, [path], images)
    monkeypatch.setattr(distribute, "chunk_size", lambda *_: size)
    with ThreadPoolExecutor(3) as pool:
        found = compare(path, [path], images, executor=pool, batch=batch)
    assert essence(found) == essence(whole)
    run = found.reference.run
    assert (run.computed, run.executor, run.workers) == (len(whole.reference.images), "ThreadPoolExecutor", None)


@pytest.mark.parametrize("task", list(Task))
def test_order_changes_nothing(artifact, data, task, monkeypatch):
    path, images = artifact(task), data(task)

    def backwards(_executor, work, chunks):
        return reversed(list(run_chunks(None, work, chunks)))

    whole = evaluate(path, images)
    monkeypatch.setattr(distribute, "run_chunks", backwards)
    with ThreadPoolExecutor(1) as pool:
        assert essence(evaluate(path, images, executor=pool)) == essence(whole)


def test_spawned_processes(artifact, data):
    path, images = artifact(Task.SEGMENTATION), data(Task.SEGMENTATION)
    found = evaluate(path, images, executor="processes:2")
    assert essence(found) == essence(evaluate(path, images))
    assert found.run.executor == "processes:2"


def test_relative_paths_and_a_limit(artifact, data, monkeypatch, tmp_path):
    path, images = artifact(), data(Task.CLASSIFICATION)
    monkeypatch.chdir(tmp_path)
    given = (path.relative_to(tmp_path), images.relative_to(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        assert essence(evaluate(*given, limit=7, executor=pool)) == essence(evaluate(*given, limit=7))


def test_a_data_set_with_label_values_reaches_the_workers(artifact, scenes, tmp_path, colour_net):
    path = artifact(Task.SEGMENTATION)
    dataset = find_dataset(scenes(3), colour_net().card, label_values=(0, 1, 2, 3), ignore_label=7)
    with ThreadPoolExecutor(2) as pool:
        assert essence(evaluate(path, dataset, executor=pool)) == essence(evaluate(path, dataset))
    assert essence(evaluate(path, dataset, executor="processes:1")) == essence(evaluate(path, dataset))


def test_the_model_is_opened_once_per_process(artifact, data, monkeypatch):
    opened = []
    model = worker.Predictor
    monkeypatch.setattr(
        worker, "Predictor", lambda *given, **options: opened.append(options) or model(*given, **options)
    )
    worker._open.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        evaluate(artifact(), data(Task.CLASSIFICATION), executor=pool, threads=3)
    assert [options["threads"] for options in opened] == [3]


def test_a_journal_goes_on_anywhere(artifact, photos, tmp_path, monkeypatch):
    path, images, journal = artifact(), photos(29), tmp_path / "journal"
    broken = sorted(images.rglob("*.png"))[20]
    content = broken.read_bytes()
    stamp = broken.stat().st_mtime_ns
    broken.write_bytes(b"x" * len(content))
    os.utime(broken, ns=(stamp, stamp))
    monkeypatch.setattr(distribute, "chunk_size", lambda *_: 3)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ImageError, match=broken.name):
        evaluate(path, images, executor=pool, journal=journal)
    broken.write_bytes(content)
    os.utime(broken, ns=(stamp, stamp))
    resumed = evaluate(path, images, journal=journal)
    assert resumed.run.resumed >= 9
    assert resumed.run.resumed + resumed.run.computed == 29
    assert essence(resumed) == essence(evaluate(path, images))
    with ThreadPoolExecutor(1) as pool:
        assert evaluate(path, images, executor=pool, journal=journal).run.computed == 0


@pytest.mark.parametrize(("images", "workers", "batch", "expected"), [
    (0, 4, 1, 1), (1, 4, 1, 1), (64, 2, 1, 4), (50_000, 2, 1, 64), (50_000, 2, 7, 70), (3, 1, 8, 8), (1000, 1000, 1, 1),
])  # fmt: skip
def test_chunks_hold_whole_batches(images, workers, batch, expected):
    assert chunk_size(images, workers, batch) == expected


@pytest.fixture
def chunk(artifact, photos):
    """A task and a chunk as the driver sends them."""
    path, images = artifact(), photos(6)
    options = EvaluationOptions()
    with open_models([path], device="auto", backend="auto", threads=None) as loaded:
        dataset = find_dataset(images, loaded[0].info.card)
        task = make_task([loaded[0].info], dataset, options)
    worker._open.cache_clear()
    return task, make_chunk(dataset, range(2, 5))


def changed(task, **fields):
    return dataclasses.replace(task, models=(dataclasses.replace(task.models[0], **fields),))


def test_a_chunk_keeps_its_positions(chunk):
    found = worker.evaluate_chunk(*chunk)
    assert [record["index"] for record in found.records] == [2, 3, 4]
    assert len(found.inference_s) == 1


def test_a_worker_without_the_artifact(chunk):
    task, images = chunk
    task.models[0].path.unlink()
    with pytest.raises(MissingFileError, match=r"^artifact must be at the same path on every worker, got no /"):
        worker.evaluate_chunk(task, images)


def test_a_worker_with_another_artifact_runtime_or_version(chunk):
    task, images = chunk
    with pytest.raises(ArtifactError, match=r"must have the driver's SHA-256 000000000000, got .* Copy it again\.$"):
        worker.evaluate_chunk(changed(task, sha256="0" * 64), images)
    with pytest.raises(DeviceError, match=r"must compute in bfloat16 as on the driver, got .* Use machines"):
        worker.evaluate_chunk(changed(task, arithmetic="bfloat16"), images)
    with pytest.raises(UsageError, match=r"^hrnet-deploy on worker .* must be the driver's 0\.0\.1, got "):
        worker.evaluate_chunk(dataclasses.replace(task, version="0.0.1"), images)


def test_a_worker_with_other_images(chunk):
    task, images = chunk
    path = images.samples[1].path
    os.utime(path, ns=(1, 1))
    with pytest.raises(UsageError, match=r"^data on worker .* must have the driver's names, sizes and times"):
        worker.evaluate_chunk(task, images)
    path.unlink()
    with pytest.raises(MissingFileError, match=r"^data must be at the same path on every worker, got on .*: file"):
        worker.evaluate_chunk(task, images)


def test_an_error_of_a_worker_is_one_line_here(artifact, photos):
    path, images = artifact(), photos(6)
    broken = sorted(images.rglob("*.png"))[3]
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=broken.name) as caught:
        evaluate(path, images, executor="processes:1")
    assert "\n" not in str(caught.value)


def test_a_worker_that_returns_other_records(artifact, photos, monkeypatch):
    path, images = artifact(), photos(6)
    run = worker.evaluate_chunk

    def twice(task, chunk):
        result = run(task, chunk)
        return dataclasses.replace(result, records=result.records * 2)

    monkeypatch.setattr(distribute, "evaluate_chunk", twice)
    with ThreadPoolExecutor(1) as pool, pytest.raises(DeviceError, match="must return the records of its images"):
        evaluate(path, images, executor=pool)


def test_objects_cannot_be_sent(colour_net, photos):
    with pytest.raises(UsageError, match=r"^an executor needs artifacts as files, .* got colour_net as an object"):
        evaluate(colour_net(Task.CLASSIFICATION), photos(), executor="processes:1")


def test_the_executor_is_checked_before_any_model_is_opened(tmp_path):
    with pytest.raises(UsageError, match="executor must be one of"):
        evaluate(tmp_path / "absent.onnx", tmp_path, executor="threads:2")


@pytest.fixture
def many_photos(picture_file, demo, tmp_path):
    """Photos for the ten classes of the demo's model."""
    names = (demo / "photos10.txt").read_text().split()
    noise = np.random.default_rng(0)
    for index in range(240):
        picture_file(tmp_path / f"many/{names[index % 10]}/{index}.png", noise.integers(0, 256, (96, 128), np.uint8))
    return tmp_path / "many"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_lost_worker_changes_nothing(engine, photos_onnx, many_photos, tmp_path):
    script = ROOT / "tests/helpers/lost_worker.py"
    found = run_with_cluster(engine, script, engine, photos_onnx, many_photos, tmp_path / "journal")
    assert found["records_at_loss"] < 240, "the worker was lost too late"
    assert found["workers_before"] == found["workers_after"] + 1 == 2
    assert found["lines"] == list(range(240)), "lost, or counted twice"
    assert found["computed"] == 240
    assert found["digest"] == found["digest_of_one_process"]
