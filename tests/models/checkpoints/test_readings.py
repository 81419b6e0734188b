"""What tensors do not tell: whose branch trained them, which batch norms they had, which head they feed."""

import logging
import re

import pytest
import torch

from hrnet_deploy.errors import CheckpointError, UsageError
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant

ASSUMED = "does not say which branch"
YAML = "CUDNN:\n  ENABLED: true\nMODEL:\n  NAME: seg_hrnet\n  EXTRA:\n    KERNEL: 1\n{}LOSS:\n  USE_OHEM: true\n"
MM_TEXT = "model = dict(decode_head=dict(type='FCNHead', align_corners={}))"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    model = build_network(find_variant("hrnetv2_w18_small_v1"), 3)
    return dict(model.state_dict())


@pytest.fixture
def save(tmp_path, state):
    def write(content=None, name="net.pth"):
        torch.save(state if content is None else content, tmp_path / name)
        return tmp_path / name

    return write


def corners(path, **options):
    found = load_checkpoint(path, **options).variant
    return found.align_corners, found.align_corners_fuse


def as_mmseg(state):
    names = {"last_layer.0.": "decode_head.convs.0.conv.", "last_layer.1.": "decode_head.convs.0.bn."}
    names["last_layer.3."] = "decode_head.conv_seg."
    return {
        next((new + name[len(old) :] for old, new in names.items() if name.startswith(old)), f"backbone.{name}"): tensor
        for name, tensor in state.items()
    }


def test_the_branch_is_assumed_aloud(save, caplog):
    assert corners(save()) == (False, False)
    (record,) = caplog.records
    assert ASSUMED in record.getMessage()
    assert "--align-corners" in record.getMessage()


@pytest.mark.parametrize("requested", [True, False])
def test_the_flag_decides(save, caplog, requested, tmp_path):
    (tmp_path / "net.yaml").write_text(YAML.format(f"  ALIGN_CORNERS: {str(not requested).lower()}\n"))
    assert corners(save(), align_corners=requested) == (requested, requested)
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"net.yaml": "  ALIGN_CORNERS: true\n"}, True),
        ({"net.yml": "  ALIGN_CORNERS: False  # as v1.1\n"}, False),
        ({"seg.yaml": "  NUM_OUTPUTS: 1\n"}, True),
        ({"seg.yaml": "  OCR:\n    MID_CHANNELS: 512\n"}, True),
        ({"seg.yaml": ""}, None),
        ({"a.yaml": "  ALIGN_CORNERS: true\n", "b.yaml": "  ALIGN_CORNERS: false\n"}, None),
        ({"net.yaml": "  ALIGN_CORNERS: true\n", "b.yaml": "  ALIGN_CORNERS: false\n"}, True),
    ],
)
def test_a_yaml_beside_the_weights_is_read(save, caplog, tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(YAML.format(text))
    assert corners(save()) == (bool(expected), bool(expected))
    assert any(ASSUMED in record.getMessage() for record in caplog.records) is (expected is None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["MODEL: 3\n", "\0\xff", "MODEL:\n" + "  A: 1\n" * 50_000, "OTHER:\n  ALIGN_CORNERS: true\n"]
)
def test_other_yaml_files_say_nothing(save, tmp_path, text):
    (tmp_path / "a.yaml").write_text(text, encoding="latin1")
    assert corners(save()) == (False, False)


def test_the_configuration_in_the_file_is_read(save, state, caplog):
    content = {"config": {"MODEL": {"ALIGN_CORNERS": True}}, "state_dict": state}
    assert corners(save(content)) == (True, True)
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [True, False])
def test_only_the_head_of_mmsegmentation_aligns(save, state, caplog, aligned):
    content = {"meta": {"cfg": MM_TEXT.format(aligned)}, "state_dict": as_mmseg(state)}
    assert corners(save(content)) == (aligned, False)
    assert corners(save(content), align_corners=True) == (True, False)
    assert not caplog.records


def test_classifiers_have_no_corners(load_state, small_state):
    with pytest.raises(UsageError, match="--align-corners is for segmentation models, got hrnet_w18_small_v1"):
        load_state(small_state, align_corners=True)


def negative(state, share=0.1):
    generator = torch.Generator().manual_seed(1)
    changed = {name: tensor.clone() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for name, tensor in changed.items():
        if name.endswith(".weight") and tensor.ndim == 1:
            tensor[torch.rand(tensor.shape, generator=generator) < share] *= -0.5
    return changed


@pytest.mark.slow
def test_inplace_abn_scales_by_magnitude(save, state):
    changed = negative(state)
    network = load_checkpoint(save(changed), align_corners=False, inplace_abn=True).network
    assert torch.equal(network.bn1.weight, changed["bn1.weight"].abs() + 1e-5)
    assert torch.equal(network.bn1.bias, changed["bn1.bias"])
    assert torch.equal(network.conv1.weight, changed["conv1.weight"])


@pytest.mark.slow
def test_negative_scales_of_that_branch_are_reported(save, state, caplog):
    load_checkpoint(save(negative(state)), align_corners=False)
    (record,) = caplog.records
    assert "--inplace-abn" in record.getMessage()
    caplog.clear()
    counted = {**negative(state), "bn1.num_batches_tracked": torch.tensor(3)}
    load_checkpoint(save(counted), align_corners=False)
    load_checkpoint(save(negative(state, share=0)), align_corners=False)
    load_checkpoint(save(negative(state)), align_corners=False, inplace_abn=True)
    assert not caplog.records


def trunk(prefix=""):
    names = ("conv1.weight", "stage2.0.branches.0.0.conv1.weight", "stage3.0.fuse_layers.0.1.0.weight")
    return {prefix + name: torch.zeros(1) for name in (*names, "stage4.0.branches.0.0.bn1.weight")}


def beside(prefix, *names):
    return {**trunk(prefix), **{name: torch.zeros(1) for name in names}}


OTHER_NETS = {
    "HRNet-OCR": beside("model.", "model.aux_head.0.weight", "model.cls_head.weight"),
    "OCRNet": beside("backbone.", "decode_head.0.convs.0.conv.weight", "decode_head.1.bottleneck.conv.weight"),
    "another head than one FCN layer": beside("backbone.", "decode_head.psp_modules.0.1.conv.weight"),
    "hierarchical multi-scale attention": beside("module.backbone.", "module.ocr.cls_head.weight"),
    "pose estimator (HRNet-Human-Pose-Estimation)": beside("", "final_layer.weight", "final_layer.bias"),
    "pose estimator (HigherHRNet)": beside("1.", "1.final_layers.0.weight", "1.deconv_layers.0.0.0.weight"),
    "pose estimator (DEKR)": beside("", "transition_heatmap.0.weight", "head_heatmap.1.weight"),
    "pose estimator (mmpose)": beside("backbone.", "keypoint_head.final_layer.weight"),
    "pose estimator (mmpose) ": beside("backbone.", "head.final_layer.weight"),
    "detector": beside("backbone.", "neck.fpn_convs.0.conv.weight", "rpn_head.rpn_conv.weight"),
    "detector ": beside("backbone.", "bbox_head.cls_convs.0.conv.weight"),
    "facial landmarks": beside("module.", "module.head.0.weight", "module.head.3.bias"),
    "HRFormer": beside("", "stage2.0.branches.0.0.attn.attn.qkv.weight"),
    "a backbone": trunk("backbone."),
}


@pytest.mark.parametrize("what", OTHER_NETS)
def test_other_models_are_named(load_state, what):
    with pytest.raises(CheckpointError, match=re.escape(what.strip())) as caught:
        load_state(OTHER_NETS[what])
    assert "\n" not in str(caught.value)


def test_auxiliary_heads_of_training_are_dropped(save, state, caplog):
    content = {**as_mmseg(state), "auxiliary_head.conv_seg.weight": torch.zeros(3, 5, 1, 1)}
    loaded = load_checkpoint(save({"state_dict": content}))
    assert loaded.dialect == "mmseg"
    (record,) = caplog.records
    assert record.getMessage().endswith("ignored 1 tensor(s) beside the model: auxiliary_head.conv_seg.weight.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("total_ops", False),
        ("layer1.total_params", False),
        ("criterion.weight", False),
        ("val_confusion.matrix", False),
        ("mean", False),
        ("extra.weight", True),
        ("stage2.0.attention.gamma", True),
    ],
)
def test_a_layer_more_is_refused_and_a_counter_is_not(save, state, caplog, name, refused):
    shape = (1,) if name.startswith("layer1") else (3,)
    path = save({**state, name: torch.zeros(shape)})
    if refused:
        with pytest.raises(CheckpointError, match=f"unexpected: {name}"):
            load_checkpoint(path, align_corners=False)
        return
    with caplog.at_level(logging.WARNING):
        load_checkpoint(path, align_corners=False)
    assert f"ignored 1 tensor(s) beside the model: {name}." in caplog.text
    assert ("--mean" in caplog.text) is (name == "mean")
