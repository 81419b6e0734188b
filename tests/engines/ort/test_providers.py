import dataclasses
from pathlib import Path

import pytest

from hrnet_deploy.engines.ort.providers import (
    CUDA,
    TENSORRT,
    CudaTuning,
    cuda_options,
    device_number,
    int8_refusal,
    missing_library,
    tensorrt_options,
)
from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, Task, TensorSpec

CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="hrnet_w18",
    classes=("a", "b"),
    preprocessing=Preprocessing(),
    precision=Precision.FP16,
    inputs=(TensorSpec("input", "float32", ("N", 3, 224, 224)),),
    outputs=(TensorSpec("logits", "float32", ("N", 2)),),
    shapes=ShapeRange((1, 224, 224), (8, 224, 224), (16, 224, 224)),
)


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:7", 7), ("cuda:12", 12)])
def test_a_gpu_has_a_number(device, number):
    assert device_number(device) == number


@pytest.mark.parametrize("device", ["", "cpu", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cuda0", "CUDA", "cuda:1:2"])
def test_what_names_no_gpu_is_refused(device):
    with pytest.raises(UsageError, match=f"device must be cpu, cuda, cuda:N or auto, got '{device}'"):
        device_number(device)


@pytest.mark.parametrize(
    ("tuning", "given", "expected"),
    [
        ({}, {}, {"use_tf32": "0", "prefer_nhwc": "0", "cudnn_conv_algo_search": "EXHAUSTIVE", "device_id": "3"}),
        ({"tf32": True}, {}, {"use_tf32": "1"}),
        ({}, {"precision": None}, {"use_tf32": "0", "prefer_nhwc": "0", "fuse_conv_bias": "0"}),
        # use_tf32=0 would take the tensor cores away from FP16, too.
        ({}, {"precision": Precision.FP16}, {"prefer_nhwc": "1", "use_tf32": "1", "fuse_conv_bias": "1"}),
        ({"tf32": False}, {"precision": Precision.FP16}, {"use_tf32": "1"}),
        # Fusing the bias with channels first would end a capture.
        ({"prefer_nhwc": False}, {"precision": Precision.FP16}, {"prefer_nhwc": "0", "fuse_conv_bias": "0"}),
        ({"prefer_nhwc": True}, {}, {"prefer_nhwc": "1", "fuse_conv_bias": "1", "use_tf32": "0"}),
        ({"fuse_conv_bias": False}, {"precision": Precision.FP16}, {"prefer_nhwc": "1", "fuse_conv_bias": "0"}),
        ({"fuse_conv_bias": True}, {"precision": Precision.FP16}, {"fuse_conv_bias": "1"}),
        ({}, {"open_sizes": True}, {"cudnn_conv_algo_search": "HEURISTIC"}),
        ({}, {"graph": True}, {"enable_cuda_graph": "1"}),
        ({}, {}, {"enable_cuda_graph": "0", "cudnn_conv_use_max_workspace": "1", "gpu_mem_limit": None}),
        ({"memory_limit_bytes": 1 << 30}, {}, {"gpu_mem_limit": "1073741824"}),
    ],
)
def test_options_of_the_cuda_provider(tuning, given, expected):
    arguments = {"device": 3, "precision": Precision.FP32, "open_sizes": False, "graph": False} | given
    options = cuda_options(CudaTuning(**tuning), **arguments)
    assert {key: options.get(key) for key in expected} == expected
    assert all(isinstance(value, str) for value in options.values())


def test_a_bias_is_not_fused_with_channels_first():
    given = {"device": 0, "open_sizes": False, "graph": False}
    for tuning, precision in (({}, Precision.FP32), ({"prefer_nhwc": False}, Precision.FP16)):
        with pytest.raises(UsageError, match="fuse_conv_bias must have channels last, got a graph with channels first"):
            cuda_options(CudaTuning(fuse_conv_bias=True, **tuning), precision=precision, **given)


def test_tensorrt_builds_for_the_range_in_the_card_and_keeps_what_it_built():
    assert tensorrt_options(CARD, device=1, cache=Path("/c")) == {
        "device_id": "1",
        "trt_profile_min_shapes": "input:1x3x224x224",
        "trt_profile_opt_shapes": "input:8x3x224x224",
        "trt_profile_max_shapes": "input:16x3x224x224",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/c",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/c",
    }


def test_pixels_have_their_channels_last_in_the_profile():
    options = tensorrt_options(dataclasses.replace(CARD, pixels_in=True), device=0, cache=None)
    assert options["trt_profile_max_shapes"] == "input:16x224x224x3"


@pytest.mark.parametrize("precision", list(Precision))
def test_precision_is_in_the_graph_and_never_a_flag(precision):
    options = tensorrt_options(dataclasses.replace(CARD, precision=precision), device=0, cache=None)
    assert not any(word in key for key in options for word in ("fp16", "int8", "bf16"))


def test_fixed_shapes_and_foreign_graphs_need_no_profile():
    fixed = dataclasses.replace(CARD, shapes=ShapeRange(*[(1, 224, 224)] * 3))
    assert tensorrt_options(fixed, device=0, cache=None) == tensorrt_options(None, device=0, cache=None)


@pytest.mark.parametrize(
    ("precision", "quantized", "refused"),
    [
        (Precision.INT8, True, True),
        (Precision.INT8, False, True),
        (None, True, True),
        (Precision.FP32, True, True),
        (Precision.FP16, False, False),
        (None, False, False),
    ],
)
def test_int8_is_no_matter_for_the_cuda_provider(precision, quantized, refused):
    line = int8_refusal(precision, quantized=quantized)
    assert (line is not None) is refused
    if line is not None:
        assert "no INT8 convolutions" in line
        assert "--precision fp16" in line
        assert "\n" not in line


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_build_without_a_library_says_so(tmp_path, provider):
    assert missing_library(provider, tmp_path) == "its library is not part of this build"


def test_a_library_that_does_not_load_gives_the_system_s_reason(tmp_path):
    (tmp_path / "libonnxruntime_providers_cuda.so").write_bytes(b"not a library")
    (tmp_path / "onnxruntime_providers_cuda.dll").write_bytes(b"not a library")
    assert missing_library(CUDA, tmp_path) not in {"", "its library is not part of this build"}
