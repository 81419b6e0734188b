"""A benchmark on paper: columns that line up, at most 100 wide, and names that cannot harm."""

import json

import pytest

from hrnet_deploy.benchmark.published_latency import published_for
from hrnet_deploy.benchmark.result import Artefact, Benchmark, Row, Scope, Skipped, StreamRow
from hrnet_deploy.benchmark.tables import as_markdown, as_text, milliseconds, sections, short_names
from hrnet_deploy.benchmark.timing import Latency, Throughput, WarmUp
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.load_snapshot import CpuState, Snapshot

LONG = "a_very_long_name_of_a_net_that_nobody_would_type_twice_int8.onnx"
WARM = WarmUp(runs=10, stable=True, median_s=0.01)
SNAPSHOT = Snapshot(
    time="2026-01-01T00:00:00+00:00", system="Linux", processor=CpuState(model="A CPU", cores=2, load=1.0)
)


def artefact(name, variant="hrnet_w18"):
    return Artefact(
        name=name,
        path=f"out/{name}",
        sha256="0" * 64,
        size_bytes=85_000_000,
        variant=variant,
        precision=Precision.FP32,
        input_hw=(224, 224),
        device="cuda:0",
        backend="tensorrt",
        arithmetic="float32 or TF32",
        picture="cat.jpg, 375x500",
    )


def row(index, batch, figure, ms, speed_up=1.0):
    latency = Latency(samples=120, median_ms=ms, mean_ms=ms, min_ms=ms, p95_ms=ms * 1.1, p99_ms=None)
    return Row(artefact=index, batch=batch, figure=figure, latency=latency, warm_up=WARM, speed_up=speed_up)


@pytest.fixture
def found():
    """Two nets, two batches, every figure, streams, published figures, a batch left out and a warning."""
    single = Throughput(streams=1, runs=100, seconds=1.0, latency=row(0, 1, Scope.ENGINE, 10).latency)
    double = Throughput(streams=2, runs=150, seconds=1.0, latency=single.latency)
    return Benchmark(
        artefacts=(artefact("w18.engine"), artefact(LONG, "hrnetv2_w48")),
        rows=tuple(
            row(index, batch, figure, 6.5 * batch / (index + 1), None if batch == 4 and index else 1.0 + index)
            for figure in Scope
            for batch in (1, 4)
            for index in (0, 1)
        ),
        streams=(StreamRow(artefact=0, batch=4, flow=double, single=single),),
        skipped=(Skipped(1, 8, "takes batches of 1 to 4"), Skipped(1, 16, "takes batches of 1 to 4")),
        threads=None,
        seconds=2.0,
        before=SNAPSHOT,
        after=SNAPSHOT,
        published=tuple(p for batch in (1, 4) for p in published_for("hrnet_w18", batch, (224, 224))),
        warnings=("load was high",),
    )


def test_columns_line_up_within_100(found):
    lines = as_text(sections(found)).splitlines()
    assert max(map(len, lines)) <= 100
    start = lines.index("Engine only: the input lies where it computes, the output stays there")
    header, *rows = lines[start + 1 : start + 6]
    assert [r.split() for r in rows[:2]] == [
        ["1", "w18.engine", "6.50", "7.15", "-", "120", "153.8", "1.00"],
        ["1", "a_very_long_name…_twice_int8.onnx", "3.25", "3.58", "-", "120", "307.7", "2.00"],
    ]
    assert len({len(line) for line in (header, *rows[:2])}) == 1


def test_sections_come_in_order(found):
    titles = [part.title.split(":")[0] for part in sections(found)]
    assert titles == [
        *("Artefacts", "Engine only", "With copies", "End to end", "Streams that share one engine"),
        *("Published figures", "Not measured", "Circumstances", "Warnings"),
    ]


def test_published_figures_are_labelled_as_other_hardware(found):
    (part,) = [part for part in sections(found) if part.title.startswith("Published")]
    assert "other hardware" in part.title
    assert part.header == ("batch", "artefact", "ours, ms", "Tesla T4 fp16", "Tesla T4 fp32", "Tesla V100 fp32")
    assert part.rows[0] == ("1", "w18.engine", "6.50", "6.79", "7.41", "6.66")
    assert any(n.startswith("other hardware: Tesla V100 (TensorRT); source: PaddleClas docs/") for n in part.notes)
    assert part.notes[-1] == "nothing is published for hrnetv2_w48 at 224x224"


def test_what_was_left_out_is_told_once(found):
    (part,) = [part for part in sections(found) if part.title == "Not measured"]
    assert part.notes == (f"batch 8, 16 of {short_names([LONG])[0]}: it takes batches of 1 to 4",)


def test_markdown_has_as_many_cells_everywhere(found):
    for block in as_markdown(sections(found)).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_json_says_names_and_times(found):
    content = json.loads(json.dumps(found.to_dict()))
    assert content["schema"] == 1
    assert content["rows"][1]["artefact"] == f"out/{LONG}"
    assert content["rows"][1]["speed_up"] == 2.0
    assert content["rows"][0]["figure"] == "engine"
    assert content["artefacts"][0]["precision"] == "fp32"
    assert content["streams"][0]["gain"] == 1.5
    assert content["streams"][0]["images_per_second"] == 600
    assert content["machine"]["before"]["processor"]["cores"] == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.onnx", "b.onnx"], ["a.onnx", "b.onnx"]),
        (["a.onnx", "a.onnx", "a.onnx"], ["a.onnx", "a.onnx (2)", "a.onnx (3)"]),
        (["a\x1b[2J\n.onnx"], ["a\\x1b[2J\\n.onnx"]),
    ],
)
def test_names_differ_and_steer_nothing(names, expected):
    assert short_names(names) == expected


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.1234, "0.123"), (6.789, "6.79"), (123.4, "123")])
def test_times_have_the_digits_that_matter(value, text):
    assert milliseconds(value) == text
