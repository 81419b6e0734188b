"""The schemas of docs/formats describe the files that the package writes, and refuse others."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from hrnet_deploy import Precision, export
from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.report import build_report, write_report

FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in FORMATS.glob("*.schema.json")}


def validator(name):
    registry = Registry().with_resources((file, Resource.from_contents(schema)) for file, schema in SCHEMAS.items())
    return jsonschema.Draft202012Validator(SCHEMAS[f"{name}.schema.json"], registry=registry)


def card_of(path):
    return json.loads(read_header(path).metadata[CARD_KEY])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_and_has_a_page(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert name in (FORMATS / name.replace(".schema.json", ".md")).read_text()


@pytest.fixture(scope="module")
def int8(demo, shared, tmp_path_factory):
    """An INT8 artifact with its calibration table, and a report on it."""
    folder = tmp_path_factory.mktemp("formats")
    photos = shared / "data" / "photos"
    artifact = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        classes=demo / "photos10.txt",
        imgsz=64,
        resize="squash",
        precision="int8",
        calib_data=photos / "train",
        calib_images=40,
        output=folder / "int8.onnx",
    )
    report = build_report(artifact.path, [artifact.path], photos / "val", limit=20, seconds=0.1)
    write_report(report, folder / "report")
    return folder


def test_cards_fit_their_schema(photos_onnx, street_onnx):
    for path in (photos_onnx, street_onnx):
        validator("card").validate(card_of(path))


@pytest.mark.slow
def test_int8_files_and_reports_fit_their_schemas(int8):
    validator("card").validate(card_of(int8 / "int8.onnx"))
    validator("calibration_table").validate(json.loads((int8 / "int8.calib.json").read_text()))
    validator("report").validate(json.loads((int8 / "report" / "report.json").read_text()))


def test_sidecars_fit_their_schema(photos_onnx):
    card = card_from_metadata(read_header(photos_onnx).metadata, "photos")
    sidecar = EngineSidecar(
        card=card,
        flavour="tensorrt",
        version="10.13.3.9",
        capabilities=("sm75",),
        plan_sha256="0" * 64,
        plan_bytes=1,
        graph_sha256="1" * 64,
        precision=Precision.FP16,
        profile={"input": ((1, 3, 64, 64), (1, 3, 64, 64), (8, 3, 64, 64))},
        rebuild="hrnet-export photos.onnx -o photos.engine",
        convolutions={"total": 91, "fp16": 91},
    )
    validator("sidecar").validate(json.loads(sidecar.to_json()))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("task", "pose"),
        ("schema", 3),
        ("classes", "coco"),
        ("preprocessing", {"mean": [0.5] * 5}),
        ("unknown", 1),
        ("inputs", []),
    ],
)
def test_other_cards_do_not(photos_onnx, place, value):
    card = copy.deepcopy(card_of(photos_onnx)) | {place: value}
    with pytest.raises(jsonschema.ValidationError):
        validator("card").validate(card)
