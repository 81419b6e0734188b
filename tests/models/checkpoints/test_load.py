"""Real files of every format give the same network and say what they are."""

import hashlib
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.spec import Interpolation, Resize


def save_torch(state, path):
    torch.save(state, path)


def save_legacy(state, path):
    torch.save({"state_dict": state, "perf": np.float64(1)}, path, _use_new_zipfile_serialization=False)


def save_safetensors(state, path):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


@pytest.mark.slow
@pytest.mark.parametrize("save", [save_torch, save_legacy, save_safetensors])
def test_formats_are_identified_by_content(tmp_path, small_state, save):
    path = tmp_path / "weights.anything"
    save(small_state, path)
    loaded = load_checkpoint(path)
    assert (loaded.dialect, loaded.variant.name, loaded.num_classes) == ("official", "hrnet_w18_small_v1", 1000)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not loaded.network.training
    found = loaded.network.state_dict()
    assert all(torch.equal(found[n], t) for n, t in small_state.items() if not n.endswith("num_batches_tracked"))


@pytest.mark.slow
def test_pdparams_file(tmp_path, library):
    path = tmp_path / "HRNet_W18_C_pretrained.pdparams"
    weights = library.weights("ppcls", "HRNet_W18_C")
    path.write_bytes(pickle.dumps({**weights, "StructuredToParameterName@@": {}}, 2))
    loaded = load_checkpoint(path, variant="hrnet_w18")
    assert (loaded.dialect, loaded.variant.head_bias) == ("ppcls", False)
    assert np.array_equal(loaded.network.classifier.weight.detach().numpy(), weights["fc.weight"].T)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32(load_state, small_state, dtype):
    state = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in small_state.items()}
    network = load_state(state).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv1.weight, state["conv1.weight"].float())


@pytest.mark.slow
def test_the_network_owns_its_memory(load_state, tmp_path, small_state):
    path = tmp_path / "a.pth"
    torch.save(small_state, path)
    network = load_checkpoint(path).network
    path.write_bytes(b"")
    assert torch.equal(network.conv1.weight, small_state["conv1.weight"])
    given = {name: tensor.clone() for name, tensor in small_state.items()}
    network = load_state(given).network
    given["conv1.weight"].zero_()
    assert network.conv1.weight.abs().sum() > 0


def test_batch_counters_are_optional(load_state, small_state):
    bare = {name: tensor for name, tensor in small_state.items() if not name.endswith("num_batches_tracked")}
    assert load_state(bare).network.bn1.num_batches_tracked.item() == 0


@pytest.mark.slow
def test_timm_training_file(tmp_path, small_state):
    averaged = {name: tensor * 2 for name, tensor in small_state.items()}
    path = tmp_path / "model_best.pth.tar"
    torch.save({"arch": "hrnet_w18_small", "state_dict": small_state, "state_dict_ema": averaged}, path)
    assert load_checkpoint(path).dialect == "timm"
    network = load_checkpoint(path, ema=True).network
    assert torch.equal(network.conv1.weight, averaged["conv1.weight"])


CONFIG = {
    "architecture": "hrnet_w18_small",
    "pretrained_cfg": {
        "input_size": [3, 288, 256],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "url": "file:///etc/passwd",
        "file": "../x",
    },
}


@pytest.mark.slow
def test_timm_config_refines_the_preprocessing(tmp_path, small_state):
    path = tmp_path / "model.safetensors"
    save_safetensors(small_state, path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    loaded = load_checkpoint(path)
    found = loaded.preprocessing
    assert loaded.dialect == "timm"
    assert (found.size_hw, found.crop_pct, found.mean, found.std) == ((288, 256), 0.95, (0.5,) * 3, (0.25,) * 3)
    assert (found.resize, found.interpolation) == (Resize.SHORT_SIDE, Interpolation.BICUBIC)
    path.rename(tmp_path / "other.safetensors")
    assert load_checkpoint(tmp_path / "other.safetensors").preprocessing == found, "whatever the weights are called"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "\xff",
        "[" * 100_000,
        *(
            json.dumps({"pretrained_cfg": {**CONFIG["pretrained_cfg"], **wrong}})
            for wrong in (
                {"interpolation": "random"},
                {"interpolation": ["bilinear"]},
                {"crop_mode": "border"},
                {"crop_pct": 0},
                {"crop_pct": "x"},
                {"mean": [1, 1]},
                {"std": [0, 0, 0]},
                {"mean": None},
                {"input_size": [224, 224]},
                {"input_size": [3, 10**9, 1]},
            )
        ),
    ],
)
def test_damaged_timm_config_is_named(tmp_path, small_state, text):
    save_safetensors(small_state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(text.encode("latin1"))
    with pytest.raises(CheckpointError, match=r"timm's config '.*config\.json' must state the preprocessing"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.slow
def test_unrelated_config_is_ignored(tmp_path, small_state):
    save_safetensors(small_state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert load_checkpoint(tmp_path / "model.safetensors").dialect == "official"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "variant", "dialect", "classes"),
    [
        ("hrnetv2_w18_small_v1_street.pth", "hrnetv2_w18_small_v1", "official-seg", 19),
        ("hrnet_w18_small_v1_photos10.safetensors", "hrnet_w18_small_v1", "official", 10),
    ],
)
def test_trained_weights_load(shared, file, variant, dialect, classes):
    path = shared / "weights" / file
    if not path.is_file():
        pytest.skip(f"needs {path}")
    loaded = load_checkpoint(path)
    assert (loaded.variant.name, loaded.dialect, loaded.num_classes) == (variant, dialect, classes)
    with torch.inference_mode():
        assert torch.isfinite(loaded.network(torch.zeros(1, 3, 64, 64))).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.pth", "hrnet.safetensors"])
@pytest.mark.parametrize("flat", [False, True])
def test_timm_config_beside_weights_of_any_name(tmp_path, small_state, name, flat):
    (save_safetensors if name.endswith("s") else torch.save)(small_state, tmp_path / name)
    inner = {**CONFIG["pretrained_cfg"], "crop_mode": "squash", "num_classes": 1000}
    config = {"architecture": "hrnet_w18_small"} | (inner if flat else {"global_pool": "avg", "pretrained_cfg": inner})
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_checkpoint(tmp_path / name)
    assert loaded.dialect == "timm"
    assert (loaded.preprocessing.resize, loaded.preprocessing.crop_pct) == (Resize.SQUASH, 0.95)
    assert loaded.classes.names is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"global_pool": "max"}, "global_pool 'max'"),
        ({"global_pool": "catavgmax"}, "global_pool 'catavgmax'"),
        ({"model_args": {"global_pool": "avgmax"}}, "global_pool 'avgmax'"),
        ({"pretrained_cfg": {"global_pool": "max"}}, "global_pool 'max'"),
        ({"architecture": "hrnet_w48"}, "architecture 'hrnet_w48', while the weights are of hrnet_w18_small_v1"),
        ({"architecture": "resnet50"}, "got 'resnet50'"),
        ({"pretrained_cfg": {"input_size": [1, 224, 224]}}, "input_size with 1 channels"),
        ({"pretrained_cfg": {"first_conv": "stem.conv"}}, "first_conv 'stem.conv'"),
        ({"label_names": ["a", "a"] * 500}, "must differ from entry 0"),
    ],
)
def test_timm_config_of_another_model_is_refused(tmp_path, small_state, changes, reason):
    torch.save(small_state, tmp_path / "w.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changes))
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(tmp_path / "w.pth")


@pytest.mark.slow
def test_timm_label_names_are_the_classes(tmp_path, small_state):
    names = [f"sort {index}" for index in range(1000)]
    torch.save(small_state, tmp_path / "w.pth")
    for labels in (names, dict(enumerate(names))):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_classes": 1000, "label_names": labels}))
        assert load_checkpoint(tmp_path / "w.pth").classes.names == tuple(names)
    wnids = [f"n{index:08}" for index in range(1000)]
    described = {"label_names": wnids, "label_descriptions": dict(zip(wnids, names, strict=True))}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | described))
    assert load_checkpoint(tmp_path / "w.pth").classes.names == tuple(names)


@pytest.mark.slow
def test_names_for_another_head_are_left_out_and_a_line_says_so(tmp_path, small_state, caplog):
    torch.save(small_state, tmp_path / "w.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_classes": 2, "label_names": ["a", "b"]}))
    loaded = load_checkpoint(tmp_path / "w.pth")
    assert (loaded.classes.names, loaded.preprocessing.crop_pct) == (None, 0.95)
    assert "is of 2 classes, while the weights have 1000" in caplog.text


@pytest.mark.slow
def test_somebody_elses_config_is_left_alone(tmp_path, small_state, caplog):
    torch.save(small_state, tmp_path / "w.pth")
    for text in ('{"architecture": "unet", "lr": 1}', "[1]", '{"architectures": ["BertModel"]}', "{ // no JSON"):
        (tmp_path / "config.json").write_text(text)
        assert load_checkpoint(tmp_path / "w.pth").dialect == "official"
    assert caplog.text.count("is not read: it is no JSON") == 1
