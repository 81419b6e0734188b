"""What is given by mistake, and what is said then."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hrnet_deploy.errors import CheckpointError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.models.checkpoints.load import load_checkpoint


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)


HEADS = {
    "empty.pth": (b"", "got an empty file"),
    "page.pth": (b"\n<!DOCTYPE html><html>", "got a web page"),
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "got a git-lfs pointer"),
    "graph.pth": (b"\x08\x08\x12\x07pytorch", "got an ONNX graph"),
    "net.engine": (b"ftrt\x00\x00", "got a TensorRT engine"),
    "archive.tar.gz": (b"\x1f\x8b\x08\x00", "got a compressed archive"),
    "old.tar": (b"\0" * 257 + b"ustar", "got a tar archive"),
    "array.npy": (b"\x93NUMPY", "NumPy file"),
    "noise.pth": (b"\x01\x02\x03\x04", "got bytes 01 02 03 04"),
    "cut.safetensors": ((5000).to_bytes(8, "little") + b'{"conv1', "less than its header says"),
    "cut.pdparams": (b"\x80\x04\x95", "cannot be read"),
    "one.pdparams": (b"\x80", "got bytes 80"),
}


@pytest.mark.parametrize("name", HEADS)
def test_foreign_and_cut_files_are_named(tmp_path, name):
    content, message = HEADS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(MissingFileError, match="must exist, got"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="got the folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_whole_pickled_model(tmp_path, legacy):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(Net(), tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"must hold an HRNet, got tensors such as 'fc\.weight'"):
        load_checkpoint(tmp_path / "net.pth")


def test_torchscript(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Net().fc), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="got a TorchScript program"):
        load_checkpoint(tmp_path / "net.pt")


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_cut_torch_files(tmp_path, small_state, legacy, keep):
    """As the released W48 .pth.tar is said to be."""
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": small_state}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(CheckpointError, match=r"must be complete.*Fetch it again"):
        load_checkpoint(path)


def test_zip_of_something_else(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(2))
    with pytest.raises(CheckpointError, match=r"got a zip of \['a\.npy'\]"):
        load_checkpoint(tmp_path / "a.npz")


def test_safetensors_package_missing(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        load_checkpoint(tmp_path / "a.safetensors")


def changed(state, **replace):
    return {**state, **{name.replace("__", "."): value for name, value in replace.items()}}


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in without(state, "incre", "downsamp", "final", "classi").items()}


def without(state, *prefixes):
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


BAD = {
    "another net": (
        lambda s: {"conv1.weight": s["conv1.weight"], "layer4.0.conv1.weight": torch.zeros(1)},
        "must hold an HRNet, got tensors such as 'conv1.weight'",
    ),
    "ocr": (lambda s: {**s, "aux_head.0.weight": torch.zeros(1)}, "got HRNet-OCR"),
    "backbone": (lambda s: without(s, "incre", "downsamp", "final", "classifier"), "must hold a model with a head"),
    "missing": (
        lambda s: without(s, "layer1.0.bn2"),
        "closest variant, got tensors missing: layer1.0.bn2.weight, .*, layer1.0.bn2.running_mean and 1 more",
    ),
    "unexpected": (
        lambda s: {**s, "extra.weight": torch.zeros(1)},
        "fit hrnet_w18_small_v1, .* unexpected: extra.weight",
    ),
    "shape": (lambda s: changed(s, bn1__bias=torch.zeros(3)), r"of another shape: bn1.bias \(3,\) instead of \(64,\)"),
    "no classifier": (lambda s: without(s, "classifier"), "a backbone without 'classifier' and 'last_layer'"),
    "one head bias": (lambda s: without(s, "final_layer.0.bias"), "missing: final_layer.0.bias"),
    "nan": (lambda s: changed(s, bn1__bias=torch.full((64,), float("nan"))), "NaN or infinity in 'bn1.bias'"),
    "overflow": (
        lambda s: changed(s, bn1__bias=torch.full((64,), 1e300, dtype=torch.float64)),
        "NaN or infinity in 'bn1.bias'",
    ),
    "variance": (lambda s: changed(s, bn1__running_var=torch.full((64,), -1.0)), "negative ones in 'bn1.running_var'"),
    "integers": (lambda s: changed(s, bn1__bias=torch.zeros(64, dtype=torch.int8)), "got int8 for 'bn1.bias'"),
    "twice": (
        lambda s: {**prefixed(s, "backbone."), "head.fc.weight": torch.zeros(1), "conv1.weight": s["conv1.weight"]},
        "got 'conv1.weight' twice",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_state_dicts_that_do_not_fit(load_state, small_state, name):
    change, message = BAD[name]
    with pytest.raises(CheckpointError, match=message):
        load_state(change(small_state))


@pytest.mark.slow
def test_expectations(load_state, small_state):
    loaded = load_state(small_state, variant="hrnet_w18_small", num_classes=1000)
    assert loaded.variant.name == "hrnet_w18_small_v1"
    with pytest.raises(CheckpointError, match=r"must hold hrnet_w18 \(classification\), got hrnet_w18_small_v1"):
        load_state(small_state, variant="hrnet_w18")
    with pytest.raises(
        CheckpointError, match=r"must hold hrnetv2_w18_small_v1 \(segmentation\), got .* \(classification\)"
    ):
        load_state(small_state, variant="hrnetv2_w18_small_v1")
    with pytest.raises(CheckpointError, match="must have 10 classes, got 1000"):
        load_state(small_state, num_classes=10)
    with pytest.raises(UsageError, match="known HRNet"):
        load_state(small_state, variant="resnet50")
