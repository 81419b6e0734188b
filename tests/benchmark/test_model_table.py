"""The layout of published tables: a row for each model, a column for each precision and batch."""

import dataclasses

import pytest

from hrnet_deploy.benchmark.model_table import model_sections
from hrnet_deploy.benchmark.result import ArtifactInfo, Benchmark, Row, Scope
from hrnet_deploy.benchmark.tables import as_markdown, as_text
from hrnet_deploy.benchmark.timing import Latency, WarmUp
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.load_snapshot import CpuState, Snapshot

WARM = WarmUp(runs=1, stable=True, median_s=0.1)
SNAPSHOT = Snapshot(time="", system="Linux", processor=CpuState(model="A CPU", cores=2, load=1.0))


def artifact(variant, precision):
    return ArtifactInfo(
        name=f"{variant} {precision.value}",
        path=f"{variant}-{precision.value}.onnx",
        sha256="0" * 64,
        size_bytes=1,
        variant=variant,
        precision=precision,
        input_hw=(224, 224),
        device="cpu",
        backend="onnxruntime",
        arithmetic="float32",
        image="generated",
    )


def row(index, batch, scope, ms):
    latency = Latency(samples=9, median_ms=ms, mean_ms=ms, min_ms=ms, p95_ms=ms, p99_ms=None)
    return Row(artifact=index, batch=batch, scope=scope, latency=latency, warm_up=WARM, speed_up=None)


@pytest.fixture
def found():
    """W18 in two precisions at two batches, and a model for which nothing is published in one precision."""
    return Benchmark(
        artifacts=(
            artifact("hrnet_w18", Precision.FP32),
            artifact("hrnet_w18", Precision.INT8),
            artifact("hrnet_w18_small_v1", Precision.FP32),
        ),
        rows=(
            row(0, 1, Scope.ENGINE, 40.0),
            row(0, 4, Scope.ENGINE, 150.0),
            row(1, 1, Scope.ENGINE, 20.0),
            row(2, 1, Scope.ENGINE, 10.0),
            row(2, 1, Scope.WHOLE, 99.0),
        ),
        streams=(),
        skipped=(),
        threads=None,
        seconds=1.0,
        before=SNAPSHOT,
        after=SNAPSHOT,
        published=None,
        warnings=(),
    )


def test_a_row_per_model_and_a_column_per_precision_and_batch(found):
    ours = model_sections(found)[0]
    assert ours.header == ("model", "fp32 b1", "fp32 b4", "int8 b1")
    assert ours.rows == (("hrnet_w18", "40.00", "150", "20.00"), ("hrnet_w18_small_v1", "10.00", "-", "-"))


def test_published_figures_stand_below_with_their_source(found):
    _, published, missing = model_sections(found)
    assert published.header[0] == "model"
    assert {"Tesla T4 fp16 b1", "Tesla T4 fp32 b4", "Tesla V100 fp32 b1"} <= set(published.header)
    assert [cells[0] for cells in published.rows] == ["hrnet_w18"]
    assert dict(zip(published.header, published.rows[0], strict=True))["Tesla T4 fp16 b1"] == "6.79"
    assert published.notes
    assert missing.title.endswith("hrnet_w18_small_v1")


def test_nothing_is_published_at_another_size(found):
    artifacts = tuple(dataclasses.replace(one, input_hw=(64, 64)) for one in found.artifacts)
    assert len(model_sections(dataclasses.replace(found, artifacts=artifacts))) == 2


def test_both_formats_show_the_table(found):
    parts = model_sections(found)
    assert "fp32 b4" in as_text(parts)
    assert "| model | fp32 b1 |" in as_markdown(parts)
