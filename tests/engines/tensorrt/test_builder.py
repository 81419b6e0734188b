"""Building: the flags of each TensorRT against a fake of it, and engines of the demo net with TensorRT-RTX itself."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import onnx
import pytest

from hrnet_deploy import export
from hrnet_deploy.engines.tensorrt import builder as room
from hrnet_deploy.engines.tensorrt.api import find_api
from hrnet_deploy.engines.tensorrt.builder import BuildRequest, Typing, build, inspect
from hrnet_deploy.engines.tensorrt.layers import precision_share
from hrnet_deploy.errors import ArtifactError, BuildError, UsageError
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import Precision

SHAPES = {"input": ((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))}
LAYERS = (
    "Layers:\nName: /a/Conv_1, LayerType: correlation, Inputs: [ { Name: x, Datatype: Half, Format: y }], "
    "Constants: [], Outputs: [ { Name: z, Datatype: Half, Format: y }], TacticName: , StreamId: 0, "
    "Metadata: [ONNX Layer: /a/Conv]"
)


def ask(precision="fp32", typing=Typing.STRONG, **options):
    wishes = {"graph": b"a graph", "name": "w18", **options}
    return BuildRequest(precision=Precision(precision), typing=typing, **wishes)


class Table:
    """A calibrator as calibration/tensorrt_cache.py makes them."""

    def __init__(self, error=None):
        self.error, self.read = error, 0

    def read_calibration_cache(self):
        self.read += 1
        return b"TRT-8601-EntropyCalibration2\n"

    def raise_if_failed(self):
        if self.error:
            raise self.error


EXPLICIT = "EXPLICIT_BATCH"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "precision", "typing", "creation", "flags"),
    [
        ("8.6.1", "fp32", Typing.WEAK, [EXPLICIT], {"TF32"}),
        ("8.6.1", "fp16", Typing.WEAK, [EXPLICIT], {"TF32", "FP16"}),
        ("8.6.1", "int8", Typing.WEAK, [EXPLICIT], {"TF32", "FP16", "INT8"}),
        ("10.13.0.35", "fp16", Typing.STRONG, [EXPLICIT, "STRONGLY_TYPED"], {"TF32"}),
        ("10.13.0.35", "int8", Typing.STRONG, [EXPLICIT, "STRONGLY_TYPED"], {"TF32"}),
        ("10.13.0.35", "int8", Typing.WEAK, [EXPLICIT], {"TF32", "FP16", "INT8"}),
        ("11.4.0.106", "fp32", Typing.STRONG, ["STRONGLY_TYPED"], {"TF32"}),
        ("11.4.0.106", "int8", Typing.STRONG, ["STRONGLY_TYPED"], {"TF32"}),
    ],
)
def test_flags_and_typing_never_mix(fake, version, precision, typing, creation, flags):
    api = fake(version)
    built = build(api, ask(precision, typing))
    state, kinds = api.module.state, api.module.NetworkDefinitionCreationFlag
    assert built.plan == b"a plan"
    assert state.graph == b"a graph"
    assert state.creation_flags == sum(1 << int(kinds[name]) for name in creation)
    assert state.flags == flags
    assert state.config.profiling_verbosity is api.module.ProfilingVerbosity.DETAILED
    assert state.profiles == []


def test_a_calibrator_is_attached_with_its_profile(fake):
    api, table = fake(), Table()
    build(api, ask("int8", Typing.WEAK, calibrator=table, profile=SHAPES))
    state = api.module.state
    assert state.config.int8_calibrator is table
    assert table.read == 1
    assert state.profiles == [SHAPES]
    assert state.calibration == {"input": (SHAPES["input"][1],) * 3}
    assert not state.creation_flags & 1 << int(api.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def test_a_fixed_graph_is_calibrated_without_a_profile(fake):
    api = fake("8.6.1")
    build(api, ask("int8", Typing.WEAK, calibrator=Table()))
    assert api.module.state.calibration is None


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.6.1", "10.13.0.35"])
def test_layers_of_kept_nodes_are_constrained(fake, caplog, version):
    api = fake(version)
    state = api.module.state
    for name in ("/conv1/Conv", "/relu/Relu", "/layer1/Conv"):
        state.layers[name] = api.module.ILayer()
        state.layers[name].name = name
    kept = frozenset({"/conv1/Conv", "/relu/Relu", "/head/Gemm"})
    build(api, ask("int8", Typing.WEAK, calibrator=Table(), float_nodes=kept))
    half = api.module.DataType.HALF
    assert [layer.precision for layer in state.layers.values()] == [half, half, None]
    assert "OBEY_PRECISION_CONSTRAINTS" in state.flags
    assert "does not name the layers of 1 kept nodes, such as /head/Gemm" in caplog.text


def test_options_reach_the_configuration(fake, tmp_path):
    api = fake()
    request = ask(workspace_bytes=1 << 30, tf32=False, optimization_level=4, aux_streams=3, network_name='{"card": 1}')
    build(api, request)
    state = api.module.state
    assert state.pools == {"WORKSPACE": 1 << 30}
    assert state.flags == set()
    assert (state.config.builder_optimization_level, state.config.max_aux_streams) == (4, 3)
    assert state.network.name == '{"card": 1}'


@pytest.mark.parametrize("version", ["8.6.1", "10.13.0.35"])
def test_contexts_may_share_a_profile_where_that_must_be_asked_for(fake, version):
    api, asked = fake(version), {}
    api.module.IBuilderConfig._scripts["set_preview_feature"] = lambda _, feature, on: asked.update({feature.name: on})
    build(api, ask(typing=Typing.WEAK))
    assert asked == {"PROFILE_SHARING_0806": True}


def test_the_chosen_gpu_is_current_in_the_thread_that_builds(fake):
    api, seen = fake(), []
    api.module.state.during = lambda: seen.append(threading.current_thread())
    build(api, ask(activate=lambda: seen.append(threading.current_thread())))
    assert seen[0] is seen[1] is not threading.current_thread()


def test_layers_come_from_the_log(fake):
    api = fake()
    api.module.state.messages = [("VERBOSE", "Layers:\nold"), ("VERBOSE", LAYERS)]
    built = build(api, ask("fp16"))
    assert [layer.name for layer in built.layers] == ["/a/Conv_1"]
    assert built.seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "request_", "message"),
    [
        ("11.4.0", ask("fp16", Typing.WEAK), "need TensorRT 10 or older, got TensorRT 11.4.0. Use strong typing"),
        ("11.4.0", ask("fp32", Typing.WEAK), "need TensorRT 10 or older"),
        ("10.13.0", ask("int8", float_nodes=frozenset("a")), "layers kept out of INT8 need weak typing, got strong"),
        ("8.6.1", ask("fp16"), "need.* TensorRT 9 or newer, got TensorRT 8.6.1. Use weak typing"),
        ("10.4.0", ask("int8", calibrator=Table()), "needs INT8 and weak typing, got int8 and strong"),
        ("10.4.0", ask("fp16", Typing.WEAK, calibrator=Table()), "needs INT8 and weak typing, got fp16 and weak"),
        ("10.4.0", ask(targets=("sm75",)), "targets need TensorRT-RTX, got TensorRT 10.4.0"),
        ("10.4.0", ask(workspace_bytes=0), "workspace must be 1 or more, got 0"),
        ("10.4.0", ask(aux_streams=-1), "auxiliary streams must be 0 or more, got -1"),
        ("10.4.0", ask(timing_cache=Path(__file__).parent), "timing cache must be a file, got the folder"),
    ],
)
def test_requests_that_cannot_work_are_refused_at_once(fake, version, request_, message):
    api = fake(version)
    with pytest.raises(UsageError, match=message):
        build(api, request_)
    assert api.module.state.network is None


MESSAGES = [("ERROR", "first"), ("WARNING", "odd"), ("ERROR", "4: [network.cpp]\n no optimization profile")]


def test_no_plan_is_an_error_with_the_log(fake, capfd):
    api = fake()
    api.module.state.messages, api.module.state.plan = MESSAGES, None
    with pytest.raises(
        BuildError, match=r"got: first; 4: \[network.cpp\] no optimization profile\. Give .*--batch"
    ) as e:
        build(api, ask())
    assert e.value.exit_code == 1
    assert isinstance(e.value, RuntimeError)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("CUDA driver version is insufficient (cudaError 35)", "needs a GPU and its driver"),
        ("OutOfMemory (Requested size was 5 bytes.)", "Free GPU memory"),
        ("anything", "-v shows the whole log"),
    ],
)
def test_what_to_do_follows_from_the_log(fake, text, advice):
    api = fake()
    api.module.state.messages, api.module.state.plan = [("ERROR", text)], None
    with pytest.raises(BuildError, match=advice):
        build(api, ask())


def test_every_parser_error_is_told(fake):
    api = fake()
    api.module.state.parser_errors = ["node 3 [Foo]:\n no importer", "node 7"]
    with pytest.raises(BuildError, match=r"can parse, got: node 3 \[Foo\]: no importer; node 7\. Export it again"):
        build(api, ask())


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("create_network", "network"),
        ("create_builder_config", "builder configuration"),
        ("create_optimization_profile", "optimization profile"),
    ],
)
def test_every_none_is_an_error(fake, call, what):
    api = fake()
    api.module.state.none = {call}
    with pytest.raises(BuildError, match=f"must give the {what}, got: no reason"):
        build(api, ask(profile=SHAPES))


@pytest.mark.parametrize(
    ("switch", "what"), [("accept_profile", "profile "), ("accept_calibration", "calibration profile")]
)
def test_refused_profiles_are_errors(fake, switch, what):
    api = fake()
    setattr(api.module.state, switch, False)
    with pytest.raises(BuildError, match=f"^{what}"):
        build(api, ask("int8", Typing.WEAK, calibrator=Table(), profile=SHAPES))


def test_what_the_binding_raises_is_a_build_error(fake):
    api = fake()

    def fail():
        raise RuntimeError("pybind:\n gone")

    api.module.state.during = fail
    with pytest.raises(BuildError, match="got: pybind: gone") as caught:
        build(api, ask())
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_calibrator_tells_more_than_the_log(fake):
    api, table = fake(), Table(ArtifactError("TensorRT must accept the calibration cache"))
    api.module.state.plan = None
    with pytest.raises(ArtifactError, match="must accept the calibration cache"):
        build(api, ask("int8", Typing.WEAK, calibrator=table))


@pytest.mark.parametrize(
    ("kept", "accepted", "warns"),
    [(None, {}, False), (b"good", {b"good": True}, False), (b"alien", {b"alien": False}, True), (b"junk", {}, True)],
)
def test_the_timing_cache_is_used_or_made_anew(fake, tmp_path, caplog, kept, accepted, warns):
    path, api = tmp_path / "deep" / "sm75.cache", fake()
    if kept is not None:
        path.parent.mkdir()
        path.write_bytes(kept)
    api.module.state.timings.update(accepted)
    build(api, ask(timing_cache=path))
    assert path.read_bytes() == (kept if kept == b"good" else b"") + b" and more"
    assert [p.name for p in path.parent.iterdir()] == ["sm75.cache"]
    assert any("was refused by TensorRT 10.13" in m for m in caplog.messages) == warns


@pytest.mark.slow
def test_timings_of_a_failed_build_are_not_kept(fake, tmp_path):
    api = fake()
    api.module.state.plan = None
    with pytest.raises(BuildError):
        build(api, ask(timing_cache=tmp_path / "x.cache"))
    assert list(tmp_path.iterdir()) == []


def test_timings_that_cannot_be_written_do_not_cost_the_engine(fake, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    assert build(fake(), ask(timing_cache=tmp_path / "file" / "x.cache")).plan == b"a plan"
    assert any("is not written" in m for m in caplog.messages)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def press_ctrl_c(monkeypatch, times=1):
    """Let the thread that waits be interrupted as soon as it waits."""
    left, wait = [None] * times, threading.Event.wait

    def interrupted(self, timeout=None):
        if threading.current_thread() is threading.main_thread() and timeout == room._POLL_S and left:
            left.pop()
            raise KeyboardInterrupt
        return wait(self, timeout)

    monkeypatch.setattr(threading.Event, "wait", interrupted)


def test_ctrl_c_ends_the_build_at_its_next_step(fake, monkeypatch, tmp_path):
    api, release = fake(), threading.Event()
    cancel = room.BuildMonitor.cancel
    monkeypatch.setattr(room.BuildMonitor, "cancel", lambda self: cancel(self) or release.set())
    api.module.state.during = lambda: release.wait(10)
    press_ctrl_c(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        build(api, ask(timing_cache=tmp_path / "x.cache"))
    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name == "tensorrt-build" and t.join(1)]


@pytest.mark.parametrize(("version", "typing", "presses"), [("8.6.1", Typing.WEAK, 1), ("10.13.0", Typing.STRONG, 2)])
def test_a_build_that_cannot_be_ended_is_left_behind(fake, monkeypatch, version, typing, presses):
    api, release = fake(version), threading.Event()
    api.module.state.during = lambda: release.wait(10)
    press_ctrl_c(monkeypatch, presses)
    with pytest.raises(KeyboardInterrupt):
        build(api, ask(typing=typing))
    assert [t for t in threading.enumerate() if t.name == "tensorrt-build"]
    release.set()


def test_tensorrt_8_builds_without_a_bar(fake, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert build(fake("8.6.1"), ask(typing=Typing.WEAK)).plan == b"a plan"
    assert capsys.readouterr().err == ""


def test_an_engine_is_inspected(fake):
    api = fake("10.4.0")
    api.module.state.inspection = '{"Layers": [{"Name": "/a/Conv", "LayerType": "CaskConvolution"}]}'
    assert inspect(api, b"a plan")[0].convolves


@pytest.mark.parametrize(
    ("call", "what"), [("deserialize_cuda_engine", "engine"), ("create_engine_inspector", "engine inspector")]
)
def test_an_engine_that_cannot_be_inspected_is_an_error(fake, call, what):
    api = fake("10.4.0")
    api.module.state.none = {call}
    with pytest.raises(BuildError, match=f"must give the {what}, got"):
        inspect(api, b"a plan")


def test_the_fake_refuses_what_tensorrt_does_not_have(fake):
    trt = fake().module
    with pytest.raises(AttributeError):
        _ = trt.Builder(None).build_cuda_engine
    with pytest.raises(AttributeError):
        trt.IBuilderConfig().max_workspace_size = 1
    with pytest.raises(TypeError):
        trt.IBuilderConfig().set_flag()
    assert int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 1


@pytest.fixture
def typed(stub_source, tmp_path):
    """({file: text}) -> what mypy says of those files of this room, with the types of TensorRT 10.13."""
    pytest.importorskip("mypy", reason="needs mypy")
    root = Path(__file__).resolve().parents[3]
    # The package marks another of its folders as typed, so mypy does not find this one, nor could it read it.
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.pyi").write_text(f"# mypy: ignore-errors\n{stub_source}")
    # Of all that is imported, only these types matter: NumPy and the rest of the package take most of the time.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nfollow_imports = skip\n[mypy-tensorrt]\nfollow_imports = silent\n")

    def check(texts: dict[str, str]) -> str:
        # No cache: mypy looks for changes in the file that is shadowed.
        command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", os.devnull]
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
            command += ["--shadow-file", f"hrnet_deploy/engines/tensorrt/{name}", tmp_path / name]
        command += [f"hrnet_deploy/engines/tensorrt/{name}" for name in texts]
        environment = {**os.environ, "MYPYPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return check


@pytest.mark.slow
def test_mypy_checks_the_calls_against_the_published_types(typed):
    """One run over this room with four calls misspelled: it finds these four, and nothing else."""
    files = ("api.py", "builder.py", "builder_config.py", "log.py", "monitor.py", "timing_cache.py")
    texts = {name: (Path(room.__file__).parent / name).read_text() for name in files}
    typos = {
        "builder.py": ("build_serialized_network(", "build_serialised_network("),
        "builder_config.py": ("BuilderFlag.INT8", "BuilderFlag.INT9"),
        "monitor.py": ("trt.IProgressMonitor.__init__", "trt.IProgressWatcher.__init__"),
        "timing_cache.py": ("create_timing_cache(", "make_timing_cache("),
    }
    for name, (right, wrong) in typos.items():
        assert texts[name].count(right) == 1
        texts[name] = texts[name].replace(right, wrong)
    told = typed(texts)
    for wrong in ("build_serialised_network", "INT9", "IProgressWatcher", "make_timing_cache"):
        assert f'"{wrong}"' in told
    assert "Found 4 errors in 4 files (checked 6 source files)" in told


# From here on TensorRT-RTX itself, which builds with no GPU.


@pytest.fixture(scope="module")
def rtx():
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install 'hrnet-deploy[tensorrt-rtx]'")
    return find_api("tensorrt-rtx")


@pytest.fixture(scope="module")
def photos(demo, photos_onnx, tmp_path_factory):
    """precision -> the photo classifier in it, serialized; at 64x64 with any batch."""
    folder = tmp_path_factory.mktemp("calibration")
    for index, picture in enumerate(synthetic_images(10, (64, 64))):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    int8 = export(
        str(photos_onnx), task="classification", resize="squash", classes=demo / "photos10.txt",
        precision="int8", qdq_target="tensorrt", remainder="fp16", calib_data=folder, calib_method="minmax",
        output=folder / "int8.onnx",
    ).path  # fmt: skip
    fp32 = onnx.load(photos_onnx)
    return {
        "fp32": fp32.SerializeToString(),
        "fp16": to_fp16(fp32).model.SerializeToString(),
        "int8": int8.read_bytes(),
    }


def convolutions(graph: bytes) -> list[str]:
    return [node.name for node in onnx.load_from_string(graph).graph.node if node.op_type == "Conv"]


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.parametrize(
    ("precision", "target", "kept"),
    [
        ("fp32", "sm86", 0),
        ("fp32", "sm120", 0),
        ("fp16", "sm75", 0),
        ("fp16", "sm86", 0),
        ("fp16", "sm120", 0),
        ("int8", "sm86", 2),
        ("int8", "sm120", 2),
        ("int8", "sm75", 91),
        ("int8", "sm120,sm75", 91),
    ],
)
def test_rtx_runs_the_convolutions_in_the_precision_of_the_graph(rtx, photos, precision, target, kept):
    graph = photos[precision]
    built = build(
        rtx, ask(precision, graph=graph, targets=tuple(target.split(",")), profile=SHAPES, network_name="card")
    )
    assert len(built.plan) > 1e6
    by_node = precision_share(built.layers, Precision(precision), convolutions(graph))
    assert (by_node.convolutions, by_node.achieved) == (91, 91 - kept)
    by_kernel = precision_share(built.layers, Precision(precision))
    assert (by_kernel.convolutions, by_kernel.achieved) == (91, 91 - kept)
    # The whole net in 90 to 110 kernels is what fusion makes of 230 nodes; fake quantisation needs twice that.
    assert len(built.layers) < {"fp32": 115, "fp16": 115, "int8": 180}[precision] or "sm75" in target
    if kept == 2:
        assert by_node.missing == ("/conv1/Conv", "/conv2/Conv")


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.parametrize("target", ["sm75", "sm86"])
def test_rtx_builds_the_street_net_for_a_range_of_sizes(rtx, street_onnx, target):
    graph = to_fp16(onnx.load(street_onnx)).model.SerializeToString()
    sizes = {"input": ((1, 3, 64, 64), (1, 3, 256, 512), (4, 3, 512, 1024))}
    built = build(rtx, ask("fp16", graph=graph, targets=(target,), profile=sizes))
    nodes = convolutions(graph)
    share = precision_share(built.layers, Precision.FP16, nodes)
    assert (share.convolutions, share.achieved) == (len(nodes), len(nodes))


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"graph": b"no graph"}, BuildError, "must be a graph that TensorRT can parse, got: .*Failed to parse"),
        ({"graph": b""}, BuildError, "must build with TensorRT-RTX 1"),
        ({"profile": {}}, BuildError, r"no optimization profile has been defined.*Give the range of its sizes"),
        ({"profile": {"nope": SHAPES["input"]}}, BuildError, "Dynamic input tensor input is missing"),
        ({"profile": {"input": SHAPES["input"][::-1]}}, BuildError, "profile .* must fit w18, got: .*MIN<=OPT<=MAX"),
        ({"targets": ("sm99",)}, UsageError, "must be one of sm75, .*sm120.*, got 'sm99'"),
        ({"optimization_level": 9}, UsageError, "must be 0 to 5, got 9"),
        ({"network_name": "x" * 5000}, BuildError, "exceeds the limit"),
        ({"workspace_bytes": 1000}, BuildError, "OutOfMemory.*Allow more with --workspace"),
        ({"typing": Typing.WEAK}, UsageError, "need TensorRT 10 or older, got TensorRT-RTX 1"),
    ],
)
def test_rtx_says_what_is_wrong(rtx, photos, options, kind, message, capfd):
    wishes = {"graph": photos["fp16"], "profile": SHAPES, "targets": ("sm86",), **options}
    with pytest.raises(kind, match=message) as caught:
        build(rtx, ask("fp16", **wishes))
    assert "\n" not in str(caught.value)
    assert "catchCudaError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.rtx
def test_fp32_gemm_for_turing_is_refused_by_name(rtx, photos):
    with pytest.raises(BuildError, match="FP32 GEMM is not supported"):
        build(rtx, ask(graph=photos["fp32"], profile=SHAPES, targets=("sm75",)))


@pytest.mark.slow
@pytest.mark.rtx
def test_rtx_keeps_no_timings(rtx, photos, tmp_path):
    graph = photos["fp16"]
    request = ask("fp16", graph=graph, profile=SHAPES, targets=("sm86",), timing_cache=tmp_path / "x.cache",
                  aux_streams=2, optimization_level=1, workspace_bytes=1 << 30, tf32=False)  # fmt: skip
    assert build(rtx, request).layers
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.rtx
def test_a_real_ctrl_c_ends_a_real_build(rtx, photos, tmp_path):
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(photos["fp16"])
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, graph], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from hrnet_deploy.engines.tensorrt import builder
from hrnet_deploy.engines.tensorrt.api import find_api
from hrnet_deploy.spec import Precision

begun, start = threading.Event(), builder.BuildMonitor.phase_start
def noted(self, *phase):
    start(self, *phase)
    if phase[0] == "Optimizing graph":
        begun.set()
builder.BuildMonitor.phase_start = noted
threading.Thread(target=lambda: (begun.wait(), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
api, graph = find_api("tensorrt-rtx"), Path(sys.argv[1]).read_bytes()
shapes = {"input": tuple((n, 3, 64, 64) for n in (1, 4, 8))}
try:
    builder.build(api, builder.BuildRequest(graph=graph, name="w18", precision=Precision.FP16,
        typing=builder.Typing.STRONG, targets=api.compute_targets, profile=shapes))
except KeyboardInterrupt:
    assert not [t for t in threading.enumerate() if t.name == "tensorrt-build"]
    print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.rtx
def test_what_is_no_engine_is_not_inspected(rtx):
    with pytest.raises(BuildError, match=r"TensorRT-RTX .* must give the engine, got: .*Serialization"):
        inspect(rtx, bytes(100))
