"""Every dialect's tensors find their place, and the model then computes what the dialect's own code computes."""

import pytest
import torch

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.architecture import class_count, closest_variant
from hrnet_deploy.models.checkpoints.dialects import detect, to_official
from hrnet_deploy.models.checkpoints.unwrap import find_model
from hrnet_deploy.models.checkpoints.weight_match import check_names_and_shapes
from hrnet_deploy.models.network import build_network
from hrnet_deploy.spec import Interpolation, Resize, Rounding

LOOSE = {("official-seg", "w48"), ("official-seg", "w48_ac_150"), ("mmseg", "hr18")}


def expected_name(entry):
    graph = entry.graph.removesuffix("_ssld")
    if entry.task == "seg":
        return f"hrnetv2_{graph}"
    return f"se_hrnet_{graph[3:]}" if graph.startswith("se_") else f"hrnet_{graph}"


@pytest.mark.slow
def test_every_key_list_maps_without_rest(library, entry):
    rows = entry.rows
    assert len(rows) == entry.n_keys
    stored = find_model({key: torch.empty(shape, device="meta") for key, shape, _ in rows}, "fixture").tensors
    dialect = detect(stored)
    assert dialect.name == ("official" if entry.source == "timm" else entry.source)
    state = to_official(stored, dialect, "fixture")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    variant = closest_variant(shapes, "fixture")
    assert variant.name == expected_name(entry)
    assert variant.head_bias is (entry.source in ("official", "official-seg", "timm") and "ssld" not in entry.graph)
    classes = class_count(shapes, variant.task)
    assert classes == (1000 if entry.task != "seg" else 150 if entry.variant.endswith("150") else 19)
    check_names_and_shapes(shapes, build_network(variant, classes, device="meta"), variant, "fixture")


@pytest.mark.slow
def test_logits_agree_with_the_source(load_state, library, golden_entry):
    align_corners = True if golden_entry.align_corners else None
    loaded = load_state(library.rule.state_dict(golden_entry.rows), align_corners=align_corners)
    float32 = 3e-4 if (golden_entry.source, golden_entry.variant) in LOOSE else 1e-4
    for dtype, tolerance in ((torch.float32, float32), (torch.float64, 1e-9)):
        network = loaded.network.to(dtype)
        for name, golden in golden_entry.golden.items():
            shape = tuple(int(side) for side in name.split("x"))
            images = torch.from_numpy(library.rule.network_input(shape)).to(dtype)
            with torch.inference_mode():
                logits = network(images).numpy()
            assert logits.shape == golden.shape
            assert abs(logits - golden).max() <= tolerance * max(1.0, golden.std()), (name, dtype)


@pytest.mark.slow
def test_corners_of_the_wrong_branch_are_another_model(load_state, library):
    """The same tensors, so that only the flag tells the two branches apart."""
    entry = library.find("official-seg", "w18_small_v2_ac")
    network = load_state(library.rule.state_dict(entry.rows)).network
    golden = entry.golden["1x3x96x160"]
    with torch.inference_mode():
        logits = network(torch.from_numpy(library.rule.network_input((1, 3, 96, 160)))).numpy()
    assert abs(logits - golden).max() > 0.1 * golden.std()


@pytest.mark.slow
def test_ocr_models_are_refused_by_name(load_state, library, ocr_entry):
    if ocr_entry is None:
        pytest.skip("needs the parity fixtures of HRNet-OCR in ../shared/fixtures_ocr")
    stored = {key: torch.empty(shape, device="meta") for key, shape, _ in ocr_entry.rows}
    with pytest.raises(CheckpointError, match=r"HRNet-OCR.*hrnet-export FILE\.onnx --task segmentation"):
        load_state(stored)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "variant", "resize", "interpolation", "rounding"),
    [
        ("official", "w18_small_v1", Resize.SHORT_SIDE, Interpolation.BILINEAR, Rounding.TORCHVISION),
        ("ppcls", "HRNet_W18_C", Resize.SHORT_SIDE, Interpolation.OPENCV_LINEAR, Rounding.PADDLE),
        ("ppcls-legacy", "HRNet_W18_C", Resize.SHORT_SIDE, Interpolation.OPENCV_LINEAR, Rounding.PADDLE),
        ("mmpretrain", "w18", Resize.SHORT_SIDE, Interpolation.BILINEAR, Rounding.TORCHVISION),
        ("official-seg", "w18_small_v1", Resize.NONE, Interpolation.OPENCV_LINEAR, Rounding.TORCHVISION),
        ("mmseg", "hr18s", Resize.NONE, Interpolation.OPENCV_LINEAR, Rounding.TORCHVISION),
    ],
)
def test_each_dialect_brings_its_preprocessing(load_state, library, source, variant, resize, interpolation, rounding):
    found = load_state(library.weights(source, variant)).preprocessing
    assert (found.resize, found.interpolation, found.rounding) == (resize, interpolation, rounding)
    assert found.size_hw == (None if resize is Resize.NONE else (224, 224))
