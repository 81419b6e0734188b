"""The fake the other tests run on has no call that the published TensorRT has not."""

import ast

import pytest


def members(tree, name):
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    annotated = {node.target.id for node in found.body if isinstance(node, ast.AnnAssign)}
    return annotated | {node.name for node in found.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("real", "own"),
    [
        (
            "IExecutionContext",
            {"engine", "strategy", "config", "scratch", "aux", "addresses", "shape", "warm", "recorded"},
        ),
        ("ICudaEngine", {"trt", "logger", "facts"}),
    ],
)
def test_the_calls_that_run_engines_exist_in_the_published_types(trt, tmp_path, stub_tree, real, own):
    engine = trt.module.Runtime(None).deserialize_cuda_engine(trt.plan(profiles=[[[1, 3], [1, 3], [1, 3]]]))
    fake = engine if real == "ICudaEngine" else engine.create_execution_context()
    used = {name for name in dir(fake) if not name.startswith("_")} - own
    assert len(used) > 5
    assert used <= members(stub_tree, real) | {"num_aux_streams", "device_memory_size_v2"}


@pytest.mark.parametrize(
    ("real", "calls"),
    [
        ("ICudaEngine", {"num_io_tensors", "create_runtime_config", "create_execution_context"}),
        ("IExecutionContext", {"set_aux_streams", "set_device_memory", "set_optimization_profile_async"}),
        ("IRuntimeConfig", {"create_runtime_cache", "set_runtime_cache", "cuda_graph_strategy"}),
        ("IRuntimeCache", {"serialize", "deserialize"}),
        ("CudaGraphStrategy", {"DISABLED", "WHOLE_GRAPH_CAPTURE"}),
        ("DynamicShapesKernelSpecializationStrategy", {"EAGER"}),
        ("TensorLocation", {"DEVICE"}),
    ],
)
def test_the_calls_that_run_engines_exist_in_tensorrt_rtx(real, calls):
    module = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX")
    assert calls <= set(dir(getattr(module, real)))
