"""What TensorRT is asked to do, for every TensorRT, GPU and precision."""

import pytest

from hrnet_deploy.engines.tensorrt.builder import Typing
from hrnet_deploy.errors import DeviceError, MissingDependencyError, UsageError
from hrnet_deploy.export.engine import plan as engine_plan
from hrnet_deploy.export.engine.plan import plan_engine
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.spec import Precision

T4, V100, L4, H200 = ("Tesla T4", "sm75"), ("Tesla V100-SXM2-16GB", "sm70"), ("NVIDIA L4", "sm89"), ("H200", "sm90")


class Rtx:
    """The parts of TensorRT-RTX that planning looks at."""

    flavour, version = "tensorrt-rtx", "1.7.1.116"
    label = "TensorRT-RTX 1.7.1.116"
    strong_typing = compute_targets = True
    weak_typing = implicit_int8 = timing_cache = False


@pytest.fixture
def here(monkeypatch, fake, tmp_path):
    """A machine with this TensorRT ("rtx", or a classic version) and this GPU (None for none)."""
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))

    def machine(trt, gpu=None):
        api = Rtx() if trt == "rtx" else fake(trt)
        monkeypatch.setattr(engine_plan, "find_api", lambda _backend: api)
        monkeypatch.setattr(engine_plan, "_local_gpu", lambda _device: engine_plan._Local(*(gpu or ("", ""))))

    return machine


@pytest.mark.parametrize(
    ("trt", "gpu", "precision", "path", "typing", "implicit"),
    [
        ("8.6.1", T4, "fp32", "auto", Typing.WEAK, False),
        ("8.6.1", T4, "fp16", "auto", Typing.WEAK, False),
        ("8.6.1", T4, "int8", "auto", Typing.WEAK, True),
        ("8.6.1", T4, "int8", "qdq", Typing.WEAK, False),
        ("10.13.0.35", T4, "fp16", "auto", Typing.STRONG, False),
        ("10.13.0.35", T4, "int8", "auto", Typing.WEAK, True),
        ("10.13.0.35", T4, "int8", "qdq", Typing.STRONG, False),
        ("10.4.0", V100, "fp16", "auto", Typing.STRONG, False),
        ("11.4.0.106", T4, "int8", "auto", Typing.STRONG, False),
        ("rtx", L4, "int8", "auto", Typing.STRONG, False),
    ],
)
def test_how_precision_reaches_tensorrt(here, trt, gpu, precision, path, typing, implicit):
    here(trt, gpu)
    plan = plan_engine(ExportOptions(int8_path=path), Precision(precision))
    assert (plan.typing, plan.implicit) == (typing, implicit)
    assert plan.capabilities == (gpu[1],)
    assert plan.flags_set_precision == (typing is Typing.WEAK and (implicit or precision != "int8"))


@pytest.mark.parametrize(
    ("trt", "gpu", "wishes", "precision", "kind", "message"),
    [
        ("rtx", None, {}, "fp16", UsageError, "must name the one to build for, got --target local"),
        ("10.13.0.35", None, {}, "fp16", DeviceError, "needs an NVIDIA GPU, got none"),
        (
            "10.13.0.35",
            T4,
            {"target": "sm86"},
            "fp16",
            UsageError,
            "builds for this machine's GPU only .*--target sm86",
        ),
        ("rtx", None, {"target": "t4"}, "int8", UsageError, "no INT8 convolution there"),
        ("rtx", None, {"target": "v100"}, "fp16", UsageError, "sm70"),
        ("rtx", H200, {}, "fp16", UsageError, "sm90"),
        ("10.5.0", V100, {}, "fp16", UsageError, "10.4"),
        ("10.4.0", V100, {}, "int8", UsageError, "INT8"),
        ("rtx", None, {"target": "banana"}, "fp16", UsageError, "GPU must be one of"),
        ("11.4.0.106", T4, {"int8_path": "implicit"}, "int8", UsageError, "needs a TensorRT with calibrators"),
        ("rtx", L4, {"int8_path": "fast"}, "int8", UsageError, "--int8-path must be one of"),
        ("rtx", L4, {"workspace": 0.0}, "fp16", UsageError, "--workspace must be a positive"),
        ("rtx", L4, {"device": "cpu"}, "fp16", DeviceError, "device 'cpu' cannot run"),
        ("rtx", L4, {"device": "gpu"}, "fp16", UsageError, "device must be cuda, cuda:N or auto"),
        ("rtx", L4, {"opt_level": 6}, "fp16", UsageError, "--opt-level must be 0 to 5"),
        ("rtx", L4, {"aux_streams": -1}, "fp16", UsageError, "--aux-streams must be 0 to"),
    ],
)
def test_what_cannot_work_is_refused_before_the_build(here, trt, gpu, wishes, precision, kind, message):
    here(trt, gpu)
    with pytest.raises(kind, match=message):
        plan_engine(ExportOptions(**wishes), Precision(precision))


def test_models_of_a_card_mean_its_capability_once(here):
    here("rtx")
    assert plan_engine(ExportOptions(target="rtx4090, sm89,sm86"), Precision.FP16).targets == ("sm89", "sm86")


def test_this_machines_gpu_may_be_named(here):
    here("10.13.0.35", T4)
    plan = plan_engine(ExportOptions(target="t4"), Precision.FP16)
    assert (plan.targets, plan.capabilities) == ((), ("sm75",))


def test_a_card_newer_than_the_table_is_left_to_tensorrt(here):
    here("10.13.0.35", ("NVIDIA Next", "sm999"))
    assert plan_engine(ExportOptions(), Precision.INT8).capabilities == ("sm999",)


def test_timing_caches_are_kept_by_gpu_and_version(here, tmp_path):
    found = set()
    for trt, gpu in (("10.13.0.35", T4), ("10.13.0.35", L4), ("10.4.0", T4)):
        here(trt, gpu)
        found.add(plan_engine(ExportOptions(), Precision.FP16).timing_cache)
    assert len(found) == 3
    assert {path.parent for path in found} == {tmp_path / "timing"}
    here("rtx", L4)
    assert plan_engine(ExportOptions(), Precision.FP16).timing_cache is None
    with pytest.raises(UsageError, match="--timing-cache needs a TensorRT that keeps timings"):
        plan_engine(ExportOptions(timing_cache="x.cache"), Precision.FP16)


def test_no_tensorrt_at_all_names_the_pip_lines(monkeypatch):
    import sys

    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"hrnet-deploy\[tensorrt"):
        plan_engine(ExportOptions(), Precision.FP16)


@pytest.mark.parametrize(("device", "name"), [("auto", "first"), ("cuda", "first"), ("cuda:1", "second")])
def test_the_gpu_that_builds_may_be_chosen(monkeypatch, fake, tmp_path, device, name):
    from hrnet_deploy.engines.cuda import provider

    class Two:
        def device_count(self):
            return 2

        def device_name(self, index):
            return ("first", "second")[index]

        def capability(self, index):
            return ("sm75", "sm86")[index]

    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    monkeypatch.setattr(engine_plan, "find_api", lambda _backend: fake("10.13.0.35"))
    monkeypatch.setattr(provider, "open_cuda", Two)
    plan = plan_engine(ExportOptions(device=device), Precision.FP16)
    assert (plan.gpu, plan.capabilities) == (name, ("sm75" if name == "first" else "sm86",))
    with pytest.raises(DeviceError, match="one of the 2 GPUs here, got cuda:2"):
        plan_engine(ExportOptions(device="cuda:2"), Precision.FP16)
