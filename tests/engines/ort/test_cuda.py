import os
import re
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy import export
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.ort.cuda import check_placement, explain_failure, nodes_on, open_on_gpu
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.engines.ort.load import open_onnx
from hrnet_deploy.engines.ort.providers import CPU, CUDA, TENSORRT, CudaTuning
from hrnet_deploy.engines.ort.session import open_session, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError

HAS_CUDA_BUILD = CUDA in onnxruntime.get_available_providers()
NET = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[1, 1, 4, 4] x) => (float[A, B, C, D] y) <float[1, 1, 1, 1] w = {2.0}> { c = Conv(x, w) y = Sigmoid(c) }"
).SerializeToString()
INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N] x) => (float[N] y) <float s = {0.1}, int8 z = {0}>"
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
).SerializeToString()


def session(provider, strays=()):
    nodes = [types.SimpleNamespace(op_type=kind) for kind in strays]
    part = types.SimpleNamespace(ep_name=CPU, get_nodes=lambda: nodes)
    return types.SimpleNamespace(
        get_providers=lambda: [provider, CPU], get_provider_graph_assignment_info=lambda: [part]
    )


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_session_on_the_gpu_may_leave_shape_arithmetic_to_the_cpu(provider):
    check_placement(session(provider, ["Shape", "Gather", "Concat"]), "cuda:1", provider)


def test_a_session_that_came_up_elsewhere_is_refused():
    with pytest.raises(DeviceError, match=r"^device 'cuda:1' must run on the GPU, got CPUExecutionProvider: the CUDA"):
        check_placement(session(CPU), "cuda:1", CUDA)


def test_convolutions_on_the_cpu_are_refused_by_name():
    with pytest.raises(DeviceError, match="must run every convolution, got Conv, Gemm on the CPU"):
        check_placement(session(CUDA, ["Shape", "Gemm", "Conv"]), "cuda", CUDA)


def test_onnx_runtime_tells_where_its_nodes_are():
    options = session_options(entries={"session.record_ep_graph_assignment_info": "1"})
    opened = open_session(NET, "graph", options, [CPU])
    if not hasattr(opened, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not tell")
    assert "Conv" in {kind.removeprefix("Fused") for kind in nodes_on(opened, CPU)}
    assert nodes_on(opened, CUDA) == frozenset()


def test_without_the_record_nothing_is_claimed():
    assert nodes_on(open_session(NET, "graph", session_options(), [CPU]), CPU) == frozenset()
    assert nodes_on(types.SimpleNamespace(), CPU) == frozenset()


def test_opening_writes_nothing_to_the_terminal(capfd):
    with pytest.raises(ArtifactError, match=r"^bad must be a model ONNX Runtime can open"):
        open_session(b"\0" * 64, "bad", session_options(), [CPU])
    out, err = capfd.readouterr()
    assert out == ""
    assert err == ""


def test_what_tensorrt_s_provider_keeps_is_bounded_like_all_else(tmp_path, monkeypatch):
    """The oldest engines go when another is opened, as no GPU is needed to see."""
    from hrnet_deploy.engines import compiled_cache
    from hrnet_deploy.engines.ort import cuda as ort_gpu

    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    monkeypatch.setattr(compiled_cache, "_MAX_BYTES", 2500)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort_gpu, "open_session", lambda *_: session(TENSORRT))
    for age, name in enumerate(("onnxruntime-trt-new", "onnxruntime-trt-old")):
        folder = tmp_path / "compiled" / name
        folder.mkdir(parents=True)
        (folder / "built.engine").write_bytes(bytes(2000))
        os.utime(folder, (1e9 - age, 1e9 - age))
    ort_gpu.open_on_gpu(
        NET, "graph", header=read_header(NET), device="cuda", provider=TENSORRT, tuning=CudaTuning(), threads=None
    )
    left = {path.name for path in (tmp_path / "compiled").iterdir()}
    assert "onnxruntime-trt-new" in left
    assert "onnxruntime-trt-old" not in left
    assert len(left) == 2


def test_tensorrt_s_provider_needs_a_gpu():
    with pytest.raises(UsageError, match="backend 'onnxruntime-trt' must run on a GPU, got device 'cpu'"):
        OrtEngine(NET, device="cpu", backend="onnxruntime-trt")


@pytest.mark.skipif(TENSORRT in onnxruntime.get_available_providers(), reason="this ONNX Runtime has TensorRT")
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:2"])
def test_tensorrt_s_provider_asked_of_a_cpu_build_names_the_pip_line(device):
    with pytest.raises(DeviceError, match=r"needs ONNX Runtime with TensorRT, .* pip install 'hrnet-deploy\[gpu\]'"):
        open_onnx(NET, device=device, backend="onnxruntime-trt", threads=None, streams=1, in_order=False)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="backend must be one of auto, onnxruntime, onnxruntime-trt, got 'trt'"):
        OrtEngine(NET, backend="trt")


def test_a_gpu_array_needs_an_engine_on_a_gpu():
    there = types.SimpleNamespace(__cuda_array_interface__={})
    with pytest.raises(UsageError, match="input 'x' must be a NumPy array for an engine on cpu, got SimpleNamespace"):
        OrtEngine(NET, device="cpu").run({"x": there})


@pytest.mark.parametrize(
    ("half", "expected"),
    [
        (True, {"use_tf32": "1", "prefer_nhwc": "1", "fuse_conv_bias": "1"}),
        (False, {"use_tf32": "0", "prefer_nhwc": "0", "fuse_conv_bias": "0"}),
    ],
)
@pytest.mark.parametrize("size", ["4", "H"])
def test_a_graph_without_a_card_runs_in_the_precision_of_its_weights(monkeypatch, half, expected, size):
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        f"g (float[1, 1, {size}, 4] x) => (float[A, B, C, D] y) {{ y = Conv(x, w) }}"
    )
    weight = np.ones((1, 1, 1, 1), np.float16 if half else np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    net = model.SerializeToString()
    tried = []

    def opened(model, name, options, providers):
        tried.append(dict(providers)[CUDA])
        return session(CUDA)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.open_session", opened)
    _, graphs = open_on_gpu(
        net, "graph", header=read_header(net), device="cuda:1", provider=CUDA, tuning=CudaTuning(), threads=None
    )
    assert {key: tried[0][key] for key in expected} == expected
    # Every node is on the GPU, so open sizes are captured as well.
    assert tried[0]["enable_cuda_graph"] == "1"
    assert tried[0]["device_id"] == "1"
    assert graphs


@pytest.mark.parametrize(
    ("failures", "tries", "graphs"),
    [
        (0, [("1", "1")], True),
        # Shape arithmetic on the CPU: captured all the same, as ONNX Runtime allows it.
        (1, [("1", "1"), ("", "1")], True),
        # Values that go to the CPU and back: ONNX Runtime refuses to capture.
        (2, [("1", "1"), ("", "1"), ("", "0")], False),
    ],
)
def test_nodes_for_the_cpu_forbid_a_capture_only_where_onnx_runtime_says_so(monkeypatch, failures, tries, graphs):
    tried = []

    def opened(model, name, options, providers):
        try:
            strict = options.get_session_config_entry("session.disable_cpu_ep_fallback")
        except RuntimeError:
            strict = ""
        tried.append((strict, dict(providers)[CUDA]["enable_cuda_graph"]))
        if len(tried) <= failures:
            raise ArtifactError("graph must be a model ONNX Runtime can open, got: nodes on the CPU")
        return session(CUDA, ["Shape"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.open_session", opened)
    _, found = open_on_gpu(
        NET, "graph", header=read_header(NET), device="cuda", provider=CUDA, tuning=CudaTuning(), threads=None
    )
    assert tried == tries
    assert found is graphs


def test_a_graph_that_opens_in_no_way_says_why_the_last_one_failed(monkeypatch):
    def opened(model, name, options, providers):
        raise ArtifactError("graph must be a model ONNX Runtime can open, got: nonsense")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.open_session", opened)
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.missing_library", lambda provider, folder: "")
    with pytest.raises(ArtifactError, match="got: nonsense"):
        open_on_gpu(
            NET, "graph", header=read_header(NET), device="cuda", provider=CUDA, tuning=CudaTuning(), threads=None
        )
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.missing_library", lambda provider, folder: "libcublas.so.13")
    with pytest.raises(DeviceError, match=r"the CUDA provider did not load \(libcublas\.so\.13\)"):
        open_on_gpu(
            NET, "graph", header=read_header(NET), device="cuda", provider=CUDA, tuning=CudaTuning(), threads=None
        )


@pytest.mark.parametrize(
    ("capability", "processor", "expected"),
    [
        ((10, 0), "x86_64", "no kernel image for the card: the package on PyPI has no code for sm100; use TensorRT"),
        ((8, 0), "aarch64", "no kernel image for the card: the package on PyPI has no code for sm80 on ARM; use Ten"),
        (
            (7, 0),
            "x86_64",
            "no kernel image for the card: 1.26 is its last version with code for sm70, got 1.31.1; pip ",
        ),
        ((9, 0), "x86_64", "no kernel image for the card: this ONNX Runtime has no code for sm90, see hrnet-doctor"),
        (
            (19, 0),
            "x86_64",
            "CUDA failure 209: no kernel image is available for execution on the device (this ONNX Run",
        ),
    ],
)
def test_a_build_without_code_for_the_card_is_explained_when_it_fails(
    monkeypatch, driver, capability, processor, expected
):
    driver(*capability)
    monkeypatch.setattr("platform.machine", lambda: processor)
    monkeypatch.setattr(onnxruntime, "__version__", "1.31.1")
    error = RuntimeError("[E] : FAIL : CUDA failure 209: no kernel image is available\nfor execution on the device")
    found = explain_failure(error, 0)
    assert found.startswith(expected)
    assert "\n" not in found
    assert explain_failure(error, None) == "CUDA failure 209: no kernel image is available for execution on the device"
    assert explain_failure(RuntimeError("other"), 0) == "other"


@pytest.fixture
def machine(monkeypatch, driver, tmp_path):
    """(compute capability, processor, wheel's platform) -> providers of each session that is opened there."""

    def build(capability, processor="x86_64", platform="manylinux_2_28_x86_64"):
        opened = []
        folder = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n")
        (folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: cp311-cp311-{platform}\n")
        monkeypatch.syspath_prepend(tmp_path)
        driver(*capability)
        monkeypatch.setattr("platform.machine", lambda: processor)
        monkeypatch.setattr(onnxruntime, "__version__", "1.31.1")
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])

        def open_here(model, name, options, providers):
            opened.append([entry if isinstance(entry, str) else entry[0] for entry in providers])
            if opened[-1] == [CPU]:
                return open_session(model, name, options, [CPU])
            raise ArtifactError("graph must be a model ONNX Runtime can open, got: no GPU here")

        for module in ("ort.cuda", "ort.engine"):
            monkeypatch.setattr(f"hrnet_deploy.engines.{module}.open_session", open_here)
        return opened

    return build


REFUSED = [
    ((10, 0), "x86_64", r"\(sm100\): the package on PyPI has no code for sm100\. Use TensorRT, or use device='cpu'\."),
    ((8, 0), "aarch64", r"\(sm80\): the package on PyPI has no code for sm80 on ARM\. Use TensorRT, or use"),
    ((7, 0), "x86_64", r"1\.26 is its last version with code for sm70, got 1\.31\.1\. pip install .*gpu-cu12"),
]


@pytest.mark.parametrize(("capability", "processor", "message"), REFUSED)
def test_a_gpu_without_code_in_pypi_s_build_is_refused_before_anything_is_loaded(
    machine, capability, processor, message
):
    opened = machine(capability, processor)
    with pytest.raises(DeviceError, match=r"^ONNX Runtime CUDA cannot usefully run fp32 on GPU of .*" + message):
        OrtEngine(NET, device="cuda:0")
    assert opened == []


@pytest.mark.parametrize(("capability", "processor", "message"), REFUSED)
def test_auto_takes_the_cpu_with_one_line_where_the_build_has_no_code_for_the_gpu(
    machine, caplog, capability, processor, message
):
    opened = machine(capability, processor)
    engine = OrtEngine(NET, device="auto")
    assert (engine.device, opened) == ("cpu", [[CPU]])
    (line,) = [record.getMessage() for record in caplog.records]
    assert re.match(r"running on the CPU: ONNX Runtime CUDA cannot usefully run fp32 .*" + message, line)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("capability", "platform"),
    [
        ((9, 0), "manylinux_2_28_x86_64"),  # the build has its code
        ((19, 0), "manylinux_2_28_x86_64"),  # newer than the table
        ((10, 0), "linux_x86_64"),  # built elsewhere, perhaps for this GPU
    ],
)
def test_a_gpu_or_a_build_that_the_table_does_not_know_is_tried(machine, monkeypatch, capability, platform):
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.missing_library", lambda *_: "")
    opened = machine(capability, platform=platform)
    with pytest.raises(ArtifactError, match="no GPU here"):
        OrtEngine(NET, device="cuda")
    assert opened[0] == [CUDA]


def test_without_a_driver_or_such_a_gpu_the_provider_is_tried(machine, monkeypatch):
    def no_library(*_):
        raise OSError("libcuda.so.1: cannot open shared object file")

    opened = machine((10, 0))
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.missing_library", lambda *_: "")
    with pytest.raises(ArtifactError, match="no GPU here"):
        OrtEngine(NET, device="cuda:1")
    assert opened.pop() == [CUDA]
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.ctypes.CDLL", no_library)
    with pytest.raises(ArtifactError, match="no GPU here"):
        OrtEngine(NET, device="cuda")
    assert opened.pop() == [CUDA]


needs_gpu = pytest.mark.skipif(not HAS_CUDA_BUILD, reason="needs an NVIDIA GPU and hrnet-deploy[gpu]")


def on_gpu(model, **options):
    try:
        return OrtEngine(model, device="cuda", **options)
    except DeviceError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")


def test_int8_on_the_cuda_provider_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("hrnet_deploy.engines.ort.cuda.open_session", None)
    with pytest.raises(DeviceError, match="no INT8 convolutions"):
        OrtEngine(INT8, device="cuda")


@pytest.mark.gpu
@needs_gpu
def test_a_net_on_the_gpu_replays_a_graph_a_shape_and_answers_as_on_the_cpu(photos_onnx):
    engine, plain = on_gpu(photos_onnx), OrtEngine(photos_onnx, device="cpu")
    for seed, count in enumerate([1, 4, 1, 4, 2]):
        x = np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)
        found, wanted = engine.run({"input": x})["logits"], plain.run({"input": x})["logits"]
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    assert [buffers.has_graph for buffers in engine._bound._buffers.values()] == [True] * 3


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("tuning", "tolerance"),
    [
        (CudaTuning(cuda_graph=False), 1e-3),
        (CudaTuning(prefer_nhwc=True), 1e-3),
        (CudaTuning(tf32=True), 2e-2),
        (CudaTuning(memory_limit_bytes=2 << 30), 1e-3),
    ],
)
def test_tuning_changes_the_speed_and_not_the_answers(photos_onnx, tuning, tolerance):
    engine, plain = on_gpu(photos_onnx, tuning=tuning), OrtEngine(photos_onnx, device="cpu")
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    wanted = plain.run({"input": x})["logits"]
    np.testing.assert_allclose(engine.run({"input": x})["logits"], wanted, atol=tolerance * np.abs(wanted).max())


@pytest.mark.gpu
@needs_gpu
def test_open_sizes_run_on_the_gpu(street_onnx):
    engine, plain = on_gpu(street_onnx), OrtEngine(street_onnx, device="cpu")
    for hw in [(64, 96), (96, 64), (64, 96)]:
        x = np.random.default_rng(0).normal(size=(1, 3, *hw)).astype(np.float32)
        found, wanted = engine.run({"input": x})["logits"], plain.run({"input": x})["logits"]
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    # The size that came back is captured.
    assert engine.cuda_graphs == 1


@pytest.mark.gpu
@needs_gpu
def test_fp16_is_faster_than_fp32(demo, tmp_path):
    """Convolutions of 18 to 144 channels at 512 x 512: without tensor cores FP16 takes as long as FP32, or longer."""
    times = {}
    for precision in ("fp32", "fp16"):
        path = export(
            weights=demo / "hrnetv2_w18_small_v1_street.pth",
            imgsz="512x512",
            precision=precision,
            batch=4,
            output=tmp_path / f"{precision}.onnx",
        ).path
        engine = on_gpu(path)
        shape = engine.inputs[0].shape
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        engine.run({"input": x})
        (kept,) = engine._bound._buffers.values()
        samples = []
        for _ in range(30):
            began = time.perf_counter()
            engine._bound._worker.submit(engine._bound._run, kept).result()
            samples.append(time.perf_counter() - began)
        times[precision] = min(samples)
        engine.close()
    assert times["fp16"] < 0.8 * times["fp32"], times


@pytest.mark.gpu
@needs_gpu
def test_new_threads_neither_capture_again_nor_take_memory(photos_onnx):
    pytest.importorskip("cuda.bindings")
    cuda = open_cuda("cuda-python")
    engine = on_gpu(photos_onnx)
    x = np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)
    wanted = engine.run({"input": x})["logits"]
    before = cuda.memory_info(0)[0]
    for _ in range(50):
        with ThreadPoolExecutor(1) as pool:
            np.testing.assert_array_equal(pool.submit(engine.run, {"input": x}).result()["logits"], wanted)
    # Handles and a graph of each thread would be some 10 MiB a thread.
    assert cuda.memory_info(0)[0] >= before - (16 << 20)
    assert engine._bound._captured == 1


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_copies_change_no_bit(photos_onnx, pinned):
    pytest.importorskip("cuda.bindings")
    engine, other = on_gpu(photos_onnx, tuning=CudaTuning(pinned=pinned)), on_gpu(photos_onnx)
    for seed, count in enumerate((1, 8, 3, 8)):
        x = np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)
        np.testing.assert_array_equal(engine.run({"input": x})["logits"], other.run({"input": x})["logits"])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("how", ["as_tensor", "from_dlpack"])
def test_a_slow_reader_on_another_stream_never_sees_the_next_result(photos_onnx, how):
    torch = pytest.importorskip("torch")
    pytest.importorskip("cuda.bindings")
    engine = on_gpu(photos_onnx)
    if not torch.cuda.is_available():
        pytest.skip("not installed: torch with CUDA")
    one, two = (torch.randn(4, 3, 64, 64, device="cuda") * scale for scale in (1, 3))
    wanted = torch.from_dlpack(engine.run({"input": one})["logits"]).cpu().numpy()
    side = torch.cuda.Stream()
    for _ in range(100):
        found = engine.run({"input": one})["logits"]
        with torch.cuda.stream(side):
            shared = torch.as_tensor(found, device="cuda") if how == "as_tensor" else torch.from_dlpack(found)
            torch.cuda._sleep(2_000_000)  # about a millisecond before it is read
            read = shared.clone()
        del found, shared
        engine.run({"input": two})
        side.synchronize()
        np.testing.assert_allclose(read.cpu().numpy(), wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.gpu
@needs_gpu
def test_a_torch_tensor_on_the_gpu_goes_in_and_comes_out_there(photos_onnx):
    torch = pytest.importorskip("torch")
    pytest.importorskip("cuda.bindings")
    engine, plain = on_gpu(photos_onnx), OrtEngine(photos_onnx, device="cpu")
    if not torch.cuda.is_available():
        pytest.skip("not installed: torch with CUDA")
    with torch.cuda.stream(torch.cuda.Stream()):
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).cuda(non_blocking=True) * 2
        found = torch.from_dlpack(engine.run({"input": x})["logits"])
    wanted = plain.run({"input": x.cpu().numpy()})["logits"]
    np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.gpu
@needs_gpu
def test_tensorrt_s_provider_answers_as_the_cpu(photos_onnx):
    if TENSORRT not in onnxruntime.get_available_providers():
        pytest.skip("not installed: ONNX Runtime with TensorRT")
    try:
        engine = OrtEngine(photos_onnx, backend="onnxruntime-trt")
    except DeviceError as error:
        lacks = "libnvinfer" in str(error)
        pytest.skip(f"{'not installed' if lacks else 'needs an NVIDIA GPU and TensorRT 10'}: {error}")
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    wanted = OrtEngine(photos_onnx, device="cpu").run({"input": x})["logits"]
    # TensorRT computes FP32 in TF32 where the card has it.
    np.testing.assert_allclose(engine.run({"input": x})["logits"], wanted, atol=2e-2 * np.abs(wanted).max())
