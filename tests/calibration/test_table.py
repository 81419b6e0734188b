"""The calibration table: there and back, what is refused, and when it may be used again."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hrnet_deploy.calibration.table import CalibrationTable, Provenance, TensorRange
from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.spec import Preprocessing


def plain(preprocessing: Preprocessing) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(preprocessing)))


QUANTILES = tuple(float(k) for k in range(1, 17))
ORIGIN = Provenance(
    graph_sha256="a" * 64,
    image_list_sha256="b" * 64,
    images=512,
    preprocessing=plain(Preprocessing()),
    versions={"onnxruntime": "1.20.0", "numpy": "2.0"},
)


def tensor(**changes) -> TensorRange:
    values = {"low": -2.0, "high": 16.0, "amax": dict.fromkeys(METHODS, 8.0), "count": 100, "zeros": 7}
    return TensorRange(**{**values, "quantiles": QUANTILES, **changes})


def make(**changes) -> CalibrationTable:
    values = {"tensors": {"input": tensor(), "/stem/Relu: 0": tensor(low=0)}, "method": "entropy", "provenance": ORIGIN}
    return CalibrationTable(**{**values, **changes})


def edited(path: str, value, *, forged: bool = False) -> str:
    """The JSON of a table with one entry changed; forged, with the digest of the changed content."""
    content = json.loads(make(scores={"mse": 0.5}).to_json())
    *parents, last = path.split("/")
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    if forged:
        del content["digest"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        content["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(content)


finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def ranges(draw):
    low, high = sorted((draw(finite), draw(finite)))
    methods = draw(st.lists(st.sampled_from([m for m in METHODS if m != "entropy"]), unique=True))
    amax = {m: draw(st.floats(min_value=1e-30, max_value=1e30)) for m in ("entropy", *methods)}
    count = draw(st.integers(1, 2**60))
    magnitudes = st.floats(min_value=0, allow_infinity=False)
    quantiles = tuple(sorted(draw(st.lists(magnitudes, min_size=16, max_size=16))))
    return TensorRange(low, high, amax, count, draw(st.integers(0, count)), quantiles)


@pytest.mark.slow
@given(tensors=st.dictionaries(st.text(), ranges(), min_size=1, max_size=4), score=finite)
def test_a_table_survives_its_json(tensors, score):
    table = make(tensors=tensors, scores={"entropy": score})
    read = CalibrationTable.from_json(table.to_json())
    assert read == table
    assert list(read.tensors) == list(tensors)
    assert read.to_json() == table.to_json()


@pytest.mark.slow
@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_other_text_is_refused_in_one_line(text):
    with pytest.raises(ArtifactError) as caught:
        CalibrationTable.from_json(text)
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["tensors", "tensors/input", "tensors/input/amax", "tensors/input/amax/mse", "tensors/input/low", "scores"]
FIELDS += ["tensors/input/quantiles", "tensors/input/count", "method", "provenance", "provenance/preprocessing"]
FIELDS += ["provenance/versions", "provenance/images", "schema", "kind", "digest", "unknown"]


@given(path=st.sampled_from(FIELDS), value=json_values)
@example(path="tensors", value={"\n": None})
@example(path="tensors/input", value={"\n": None})
@example(path="tensors/input/amax", value={"\n": None})
@example(path="provenance", value={"\n": None})
@example(path="provenance/versions", value={"\n": None})
@example(path="scores", value={"\n": None})
@example(path="method", value="\n")
def test_any_edit_is_refused_in_one_line(path, value):
    text = edited(path, value)
    assume(json.loads(text) != json.loads(edited("scores/mse", 0.5)))
    with pytest.raises(ArtifactError) as caught:
        CalibrationTable.from_json(text)
    assert "\n" not in str(caught.value)


@given(path=st.sampled_from([f for f in FIELDS if f != "digest"]), value=json_values)
@example(path="tensors", value={"\n": None})
@example(path="tensors/input", value={"\n": None})
@example(path="method", value=["entropy"])
@example(path="provenance/graph_sha256", value=None)
def test_a_forged_table_is_read_or_refused_in_one_line(path, value):
    refusal = ""
    try:
        table = CalibrationTable.from_json(edited(path, value, forged=True))
    except ArtifactError as error:
        refusal = str(error)
    else:
        assert min(table.amax().values()) > 0
        assert table.mismatch(ORIGIN) is None or path.startswith("provenance")
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tensors/input/low", float("nan")),
        ("tensors/input/high", float("inf")),
        ("tensors/input/low", 17),
        ("tensors/input/low", True),
        ("tensors/input/amax/mse", 0),
        ("tensors/input/amax/mse", "8"),
        ("tensors/input/amax", {}),
        ("tensors/input/amax", {"mse": 1}),
        ("tensors/input/count", None),
        ("tensors/input/quantiles", ["x"]),
        ("tensors/input/extra", 1),
        ("tensors", {}),
        ("method", "auto"),
        ("scores/mse", None),
        ("scores", [1]),
        ("provenance/graph_sha256", 1234),
        ("provenance/images", "512"),
        ("provenance/versions", ["numpy"]),
        ("provenance/preprocessing", 7),
    ],
)
def test_forged_values_that_no_calibration_gives_are_refused(path, value):
    with pytest.raises(ArtifactError, match=r"must have the fields of schema 1, got .*Calibrate again\."):
        CalibrationTable.from_json(edited(path, value, forged=True))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, "must have schema 1, got 2. Upgrade"),
        ("kind", "model card", "another file"),
        ("tensors/input/amax/mse", 8.5, "got one that was edited"),
        ("provenance/images", 513, "got one that was edited"),
        ("digest", "0" * 64, "got one that was edited"),
        ("comment", "mine", "got one that was edited"),
    ],
)
def test_an_edited_table_is_refused(path, value, message):
    with pytest.raises(ArtifactError, match=message):
        CalibrationTable.from_json(edited(path, value))


@pytest.mark.parametrize("name", ["tensors", "method", "provenance", "digest"])
def test_a_missing_field_is_an_edit(name):
    content = json.loads(make().to_json())
    del content[name]
    with pytest.raises(ArtifactError, match="edited"):
        CalibrationTable.from_json(json.dumps(content))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"kind": 1}', "TRT-8601-EntropyCalibration2\n"]
)
def test_foreign_files_are_refused(text):
    with pytest.raises(ArtifactError, match="calibration table must"):
        CalibrationTable.from_json(text)


def test_a_table_is_saved_and_loaded(tmp_path):
    path = tmp_path / "new" / "w18.calib.json"
    make().save(path)
    assert CalibrationTable.load(path) == make()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_loading_names_the_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"calibration table must exist, got no file .*absent\.json"):
        CalibrationTable.load(tmp_path / "absent.json")
    with pytest.raises(ArtifactError, match="got the folder"):
        CalibrationTable.load(tmp_path)
    path = tmp_path / "w18.json"
    path.write_bytes(b"\xff\x00")
    with pytest.raises(ArtifactError, match=r"w18.json: .*must be JSON"):
        CalibrationTable.load(path)
    path.write_text("{}")
    with pytest.raises(ArtifactError, match=r"w18.json: .*another file"):
        CalibrationTable.load(path)


@pytest.mark.parametrize(
    ("origin", "requested", "reason"),
    [
        ({}, {}, None),
        ({"versions": {}}, {}, None),
        ({"versions": {"numpy": "2.0"}}, {"tensors": ["input"]}, None),
        ({"graph_sha256": "c" * 64}, {}, "the graph changed (aaaaaaaaaaaa before, cccccccccccc now)"),
        ({"image_list_sha256": "c" * 64}, {}, "the images changed (512 before, 512 now)"),
        ({"images": 4}, {}, "the images changed (512 before, 4 now)"),
        (
            {"preprocessing": plain(Preprocessing(crop_pct=0.95))},
            {},
            "the preprocessing crop_pct changed (0.875 before, 0.95 now)",
        ),
        (
            {"versions": {"onnxruntime": "1.30.0"}},
            {},
            "the version of onnxruntime changed (1.20.0 before, 1.30.0 now)",
        ),
        ({"versions": {"cv2": "4"}}, {}, "the version of cv2 changed (None before, 4 now)"),
        ({}, {"tensors": ["head"]}, "the tensor 'head' is missing"),
    ],
)
def test_a_table_says_why_it_cannot_be_used_again(origin, requested, reason):
    assert make().mismatch(dataclasses.replace(ORIGIN, **origin), **requested) == reason


def test_a_table_read_back_matches_its_origin():
    assert CalibrationTable.from_json(make().to_json()).mismatch(ORIGIN) is None


def test_amax_by_method():
    table = make(tensors={"x": tensor(amax={"entropy": 1.5, "mse": 2.5})})
    assert table.amax() == {"x": 1.5}
    assert table.amax("mse") == {"x": 2.5}
    assert dataclasses.replace(table, method="mse").amax() == {"x": 2.5}
    with pytest.raises(UsageError, match="by 'minmax', got entropy, mse"):
        table.amax("minmax")
