"""The sidecar of an engine: its text, what it refuses to hold, and what it refuses to let load."""

import dataclasses
import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.artifact.engine_sidecar import (
    EngineSidecar,
    check_sidecar,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.limits import JSON_FILE_BYTES
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, Task, TensorSpec

CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="hrnet_w18",
    classes=("cat", "dog"),
    preprocessing=Preprocessing(),
    precision=Precision.FP16,
    inputs=(TensorSpec("input", "float32", ("batch", 3, 224, 224)),),
    outputs=(TensorSpec("logits", "float32", ("batch", 2)),),
    shapes=ShapeRange((1, 224, 224), (8, 224, 224), (16, 224, 224)),
)
FACTS = EngineSidecar(
    card=CARD,
    flavour="tensorrt",
    version="10.13.3.9",
    capabilities=("sm75",),
    gpu="Tesla T4",
    plan_sha256="a" * 64,
    plan_bytes=5,
    graph_sha256="b" * 64,
    precision=Precision.FP16,
    profile={"input": ((1, 3, 224, 224), (8, 3, 224, 224), (16, 3, 224, 224))},
    rebuild="hrnet-export 'my nets/w18.onnx' --precision fp16 -o w18.engine",
    options={"tf32": "yes"},
    convolutions={"total": 91, "fp16": 91},
)
HERE = {"flavour": "tensorrt", "version": "10.13.3.9", "capability": "sm75"}


def changed(**values):
    return json.dumps(json.loads(FACTS.to_json()) | values)


@pytest.fixture
def engine(tmp_path):
    """An engine with its facts."""
    plan = tmp_path / "w18.engine"
    plan.write_bytes(b"plan!")
    return plan, dataclasses.replace(FACTS, plan_sha256=sha256_file(plan))


def test_round_trip(tmp_path):
    path = sidecar_path(tmp_path / "w18.engine")
    assert path.name == "w18.engine.json"
    write_sidecar(FACTS, path)
    assert read_sidecar(path) == FACTS
    assert [p.name for p in tmp_path.iterdir()] == ["w18.engine.json"]
    assert EngineSidecar.from_json(FACTS.to_json()).to_json() == FACTS.to_json()


def test_no_sidecar_is_none(tmp_path):
    assert read_sidecar(tmp_path / "w18.engine.json") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must describe an engine"),
        ("[]", "must describe an engine"),
        ("null", "must describe an engine"),
        ("{}", "no 'schema'"),
        (FACTS.to_json()[:-40], "must describe an engine"),
        ("[" * 100_000, "must describe an engine"),
        (changed(schema=2), "must have schema 1, got 2. Upgrade"),
        (changed(schema="1"), "must have schema 1"),
        (changed(card={}), "no 'classes'"),
        (changed(card=[]), "must describe"),
        (changed(card={"classes": ["a"], "schema": 1}), "model card"),
        (changed(flavour="openvino"), "flavour"),
        (changed(version="ten"), "version"),
        (changed(version="1.0.0" + "a" * 50_000 + "!"), "version"),
        (changed(capabilities=[]), "capabilities"),
        (changed(capabilities="sm75"), "capabilities"),
        (changed(capabilities=[75]), "capabilities"),
        (changed(plan_sha256="A" * 64), "plan_sha256"),
        (changed(plan_bytes="5"), "plan_bytes"),
        (changed(plan_bytes=True), "plan_bytes"),
        (changed(plan_bytes=0), "plan_bytes"),
        (changed(precision="fp8"), "precision"),
        (changed(precision=["fp16"]), "precision"),
        (changed(profile={"input": [[1, 3], [2, 3]]}), "profile"),
        (changed(profile={"input": [[2, 3], [1, 3], [4, 3]]}), "profile"),
        (changed(profile={"input": [[1, 3], [1, 3], [4, 3, 1]]}), "profile"),
        (changed(profile={"input": 3}), "profile"),
        (changed(profile=3), "profile"),
        (changed(options={"tf32": True}), "options"),
        (changed(convolutions={"total": 9.5}), "convolutions"),
        (changed(gpu="Tesla\nT4"), "gpu"),
        (changed(more=1), "more"),
    ],
)
def test_bad_sidecar_is_one_line(text, words, tmp_path):
    path = tmp_path / "w18.engine.json"
    path.write_text(text)
    with pytest.raises(ArtifactError) as caught:
        read_sidecar(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith("w18.engine.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "hrnet-export w18.onnx; rm -rf /",
        "hrnet-export $(reboot)",
        "hrnet-export `reboot`",
        "hrnet-export w18.onnx\nreboot",
        "hrnet-export 'open",
        "hrnet-export \x1b[2J",
        "",
        None,
    ],
)
def test_rebuild_is_one_safe_command(command, tmp_path):
    path = tmp_path / "w18.engine.json"
    path.write_text(changed(rebuild=command))
    with pytest.raises(ArtifactError, match="rebuild must be one quoted hrnet-export command"):
        read_sidecar(path)


def test_huge_and_binary_sidecars_are_refused(tmp_path):
    path = tmp_path / "w18.engine.json"
    path.touch()
    os.truncate(path, JSON_FILE_BYTES + 1)
    with pytest.raises(ArtifactError, match=f"at most {JSON_FILE_BYTES} bytes"):
        read_sidecar(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="UTF-8"):
        read_sidecar(path)
    with pytest.raises(ArtifactError, match="got the folder"):
        read_sidecar(tmp_path)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.data())
def test_any_value_anywhere_is_facts_or_an_error(value, data):
    content = json.loads(FACTS.to_json())
    key = data.draw(st.sampled_from(sorted(content)))
    try:
        facts = EngineSidecar.from_json(json.dumps(content | {key: value}))
    except ArtifactError:
        pass
    else:
        assert EngineSidecar.from_json(facts.to_json()) == facts


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_an_error(text):
    with pytest.raises(ArtifactError):
        EngineSidecar.from_json(text)


def test_engine_made_for_this_place_passes(engine):
    plan, facts = engine
    check_sidecar(facts, plan=plan, **HERE)
    check_sidecar(facts, plan=plan, **HERE | {"capability": None})
    check_sidecar(dataclasses.replace(facts, version="10.13.3"), plan=plan, **HERE)


@pytest.mark.parametrize(
    ("here", "words"),
    [
        ({"flavour": "tensorrt-rtx", "version": "1.7.1.116"}, ("built by tensorrt-rtx", "one by tensorrt 10.13.3.9")),
        ({"version": "10.13.3.10"}, ("the tensorrt that runs it (10.13.3.10)", "got 10.13.3.9")),
        ({"version": "11.4.0.106"}, ("11.4.0.106", "10.13.3.9")),
        ({"version": "10.13"}, ("10.13", "10.13.3.9")),
        ({"capability": "sm86"}, ("this GPU (sm86)", "got sm75 (Tesla T4)")),
        ({"capability": "nonsense"}, ("this GPU (nonsense)",)),
    ],
)
def test_engine_of_another_place_names_both_sides(engine, here, words):
    plan, facts = engine
    with pytest.raises(ArtifactError) as caught:
        check_sidecar(facts, plan=plan, **HERE | here)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.startswith("w18.engine must")
    assert message.endswith(f"Build it again: {FACTS.rebuild}")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"pla", "cut short"), (b"", "cut short"), (b"plan!!", "another file"), (b"plan?", "damaged")],
)
def test_damaged_engine(engine, content, words):
    plan, facts = engine
    plan.write_bytes(content)
    with pytest.raises(ArtifactError, match=words):
        check_sidecar(facts, plan=plan, **HERE)


def test_missing_engine(tmp_path):
    with pytest.raises(MissingFileError):
        check_sidecar(FACTS, plan=tmp_path / "none.engine", **HERE)


def test_several_targets(engine):
    plan, facts = engine
    facts = dataclasses.replace(facts, capabilities=("sm75", "sm86"), gpu="")
    check_sidecar(facts, plan=plan, **HERE | {"capability": "sm86"})
    with pytest.raises(ArtifactError, match=r"got sm75, sm86\. Build"):
        check_sidecar(facts, plan=plan, **HERE | {"capability": "sm90"})


def test_what_could_not_be_read_back_cannot_be_made():
    with pytest.raises(UsageError, match="rebuild"):
        dataclasses.replace(FACTS, rebuild="hrnet-export a b; c")


def test_large_regular_expressions_end_soon():
    start = time.perf_counter()
    with pytest.raises(ArtifactError):
        EngineSidecar.from_json(changed(version="1.0.0" + "a-" * 100_000 + "!"))
    assert time.perf_counter() - start < 2
