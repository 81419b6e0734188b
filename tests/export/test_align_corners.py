"""A net of the HRNet-OCR branch keeps its corners all the way: graph, precision, card, and reading it again."""

import numpy as np
import onnx
import pytest
import torch

from hrnet_deploy import Predictor
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export import export_artifact
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import checkpoint_lineage, recorded_options
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.processing.postprocess import upsampled_argmax

FUSE_AND_CONCAT = 1 + 3 + 6 + 3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ac") / "net.pth"
    torch.save(build_network(find_variant("hrnetv2_w18_small_v1"), 3).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def exported(weights):
    def make(**options):
        name = "-".join(map(str, options.values())) or "plain"
        return export_artifact(weights=weights, output=weights.with_name(f"{name}.onnx"), **options)

    return make


def modes(path):
    return [
        attribute.s.decode()
        for node in onnx.load(path).graph.node
        if node.op_type == "Resize"
        for attribute in node.attribute
        if attribute.name == "coordinate_transformation_mode"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("options", [{"imgsz": (64, 96)}, {"imgsz": "dynamic"}, {"imgsz": 64, "precision": "fp16"}])
def test_every_resize_of_the_graph_is_the_nets(weights, exported, options, aligned):
    done = exported(align_corners=aligned, **options)
    mode = "align_corners" if aligned else "half_pixel"
    found = modes(done.path)
    assert len(found) == FUSE_AND_CONCAT
    assert {m.removeprefix("pytorch_") for m in found} == {mode}
    assert done.card.align_corners is aligned
    assert ("align_corners" in done.card.lineage) is aligned
    network = load_checkpoint(weights, align_corners=aligned).network
    height, width = (64, 64) if options["imgsz"] == 64 else (64, 96)
    images = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)).numpy()
    got = open_engine(done.path, device="cpu", backend="onnxruntime").run({"input": images})["logits"]
    assert abs(got - wanted).max() < (2e-2 if "precision" in options else 1e-4) * np.ptp(wanted)


@pytest.mark.slow
def test_the_last_resize_follows(exported):
    """In the graph, and in the predictor; both against PyTorch."""
    plain = exported(align_corners=True, imgsz="dynamic")
    inside = exported(align_corners=True, imgsz=64, labels_out=True)
    assert set(modes(inside.path)) == {"align_corners"}
    assert len(modes(inside.path)) == FUSE_AND_CONCAT + 1
    predictor = Predictor(plain.path, device="cpu")
    batch = np.random.default_rng(1).standard_normal((1, 3, 64, 96), np.float32)
    logits = torch.from_numpy(predictor.infer({"input": batch})["logits"])
    wanted = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=True).argmax(1)[0]
    found = upsampled_argmax(logits[0].numpy(), (64, 96), align_corners=plain.card.align_corners)
    assert np.array_equal(found, wanted.numpy())


@pytest.mark.slow
def test_an_own_graph_keeps_its_corners(exported, tmp_path):
    first = exported(align_corners=True, imgsz=64)
    again = export_artifact(str(first.path), precision="fp16", output=tmp_path / "again.onnx")
    assert again.card.align_corners
    for aligned in (True, False):
        with pytest.raises(
            UsageError, match=r"align-corners says how a checkpoint is read.*traced with align_corners True"
        ):
            export_artifact(str(first.path), align_corners=aligned, output=tmp_path / "x.onnx")


@pytest.mark.slow
def test_the_card_says_how_to_read_the_checkpoint_again(weights, exported):
    card = exported(align_corners=True, imgsz=64).card
    options = ExportOptions(weights=weights, **recorded_options(card))
    assert options == ExportOptions(weights=weights, align_corners=True)
    assert open_source(options).info.align_corners
    lineage = checkpoint_lineage(ExportOptions(weights_key="a.b", inplace_abn=True), align_corners=False)
    assert lineage == {"weights_key": "a.b", "inplace_abn": "true"}
    with pytest.raises(UsageError, match="--weights-key chooses the copy already"):
        open_source(ExportOptions(weights=weights, weights_key="a.b", ema=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights": "random", "weights_key": "a"},
            "--weights-key applies to a checkpoint only, got .* random weights",
        ),
        ({"weights": "random", "inplace_abn": True}, "--inplace-abn applies to a checkpoint"),
        ({"weights": "random", "ema": True}, "--ema applies to a checkpoint"),
        ({"model": "hrnet_w18_small_v1", "weights": "random", "align_corners": False}, "is for segmentation models"),
    ],
)
def test_options_that_change_nothing_are_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export_artifact(**{"model": "hrnetv2_w18_small_v1", **options}, output=tmp_path / "x.onnx")
