"""hrnet-doctor: what runs where, what is wrong, and what to type."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from hrnet_deploy.cli import doctor
from hrnet_deploy.engines import environment
from hrnet_deploy.engines.diagnostics import problems
from hrnet_deploy.engines.environment import Environment, GpuInfo, probe_environment
from hrnet_deploy.errors import UsageError
from hrnet_deploy.system.gpu_table import Host, find_gpu, gpus

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; from hrnet_deploy.cli.doctor import main; sys.exit(main())"
EXPORT = dict.fromkeys(("torch", "onnx", "onnxscript", "onnxsim", "safetensors"), "1.0")
LAPTOP = Environment(
    packages={"numpy": "2.4.6", "opencv-python-headless": "5.0", "onnxruntime": "1.31.1", "openvino": "2026.4.1"}
    | EXPORT,
    providers={"CPU": ""},
    abilities={"openvino": "BF16, FP32, INT8"},
    half="bfloat16",
    gpu=GpuInfo(note="nvidia-smi: not found; CUDA: no GPU or no driver"),
    vnni=True,
)
T4 = GpuInfo(name="Tesla T4", capability="sm75", driver="580.65.06", count=1)
SERVER = Environment(
    packages={"numpy": "2.4.6", "opencv-python-headless": "5.0", "onnxruntime-gpu": "1.31.1"}
    | {"tensorrt-cu13": "10.13.3.9", "cuda-bindings": "13.0.1"}
    | EXPORT,
    providers={"TensorRT": "", "CUDA": "", "CPU": ""},
    tensorrt="10.13.3.9",
    abilities={"tensorrt": "typed graphs; builder flags; entropy calibrator; timing cache"},
    gpu=T4,
    vnni=True,
)


def run(*argv):
    return doctor.run(doctor.parse_args(list(argv)))


def on(found, monkeypatch):
    monkeypatch.setattr(doctor, "probe_environment", lambda: found)


def cells(out):
    """The table as {runtime: (version, fp32, fp16, int8)}."""
    names = ("ONNX Runtime CPU", "OpenVINO CPU", "ONNX Runtime CUDA", "TensorRT-RTX", "TensorRT")
    lines = out[out.index("runtime ") :].splitlines()
    rows = {name: next((line for line in lines if line.startswith(name + "  ")), None) for name in names}
    return {name: _cells(line, name) for name, line in rows.items() if line}


def _cells(line, name):
    words = line.removeprefix(name).split()
    version = " ".join(words[:2]) if words[0] == "<=" else words[0]
    rest = words[2:] if words[0] == "<=" else words[1:]
    return (version, *rest[:3])


@pytest.mark.parametrize(
    ("target", "table", "installs"),
    [
        (
            "v100",
            {
                "TensorRT": ("<= 10.4", "yes", "yes", "no"),
                "TensorRT-RTX": ("-", "no", "no", "no"),
                "ONNX Runtime CUDA": ("<= 1.26", "yes", "yes", "no"),
            },
            ["gpu-cu12", "tensorrt-volta", "cuda-bindings<13"],
        ),
        (
            "t4",
            {
                "TensorRT": ("any", "yes", "yes", "yes"),
                "TensorRT-RTX": ("any", "yes", "yes", "no"),
                "ONNX Runtime CUDA": ("any", "yes", "yes", "no"),
            },
            ["[export,gpu]", "[tensorrt,cuda]", "[tensorrt-rtx,cuda]"],
        ),
        (
            "NVIDIA H200",
            {
                "TensorRT": ("any", "yes", "yes", "yes"),
                "TensorRT-RTX": ("-", "no", "no", "no"),
                "ONNX Runtime CUDA": ("any", "yes", "yes", "no"),
            },
            ["[export,gpu]", "[tensorrt,cuda]"],
        ),
        (
            "sm86",
            {
                "TensorRT": ("any", "yes", "yes", "yes"),
                "TensorRT-RTX": ("any", "yes", "yes", "yes"),
                "ONNX Runtime CUDA": ("any", "yes", "yes", "no"),
            },
            ["[export,gpu]", "[tensorrt,cuda]", "[tensorrt-rtx,cuda]"],
        ),
    ],
)
def test_target(target, table, installs, capsys):
    assert run("--target", target) == 0
    out, err = capsys.readouterr()
    assert cells(out) == table
    lines = [line for line in out.splitlines() if line.startswith("  pip install")]
    assert all(any(word in line for line in lines) for word in installs)
    assert err == "Next: hrnet-export hrnet_w18 --weights hrnet_w18.mm_in1k --precision fp16 -o w18.engine\n"


@pytest.mark.parametrize("target", [*(gpu.key for gpu in gpus()), "local"])
def test_output_is_narrow_and_short(target, capsys):
    run("--target", target)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)


def test_every_no_has_a_reason(capsys):
    run("--json", "--target", "v100")
    for row in json.loads(capsys.readouterr().out)["runtimes"]:
        assert bool(row["reason"]) is ("no" in (row["fp32"], row["fp16"], row["int8"])), row


def test_verbose_names_the_source(capsys):
    run("-v", "--target", "v100")
    assert "Source: cuda-legacy-gpus" in capsys.readouterr().out


def test_quiet_leaves_only_data(capsys):
    run("-q", "--target", "t4")
    assert capsys.readouterr().err == ""


def test_unknown_target():
    with pytest.raises(UsageError, match="got 'voodoo2'"):
        run("--target", "voodoo2")


def test_laptop(monkeypatch, capsys):
    on(LAPTOP, monkeypatch)
    assert run() == 0
    out, err = capsys.readouterr()
    assert "GPU           none (nvidia-smi: not found; CUDA: no GPU or no driver)" in out
    assert "ONNX Runtime  1.31.1 (CPU build), loads: CPU" in out
    table = cells(out)
    assert table["ONNX Runtime CPU"] == ("1.31.1", "yes", "yes", "yes")
    assert table["OpenVINO CPU"] == ("2026.4.1", "yes", "yes", "yes")
    assert "OpenVINO      2026.4.1: BF16, FP32, INT8" in out
    assert "fp16 runs in bfloat16" in out
    assert table["TensorRT"] == ("-", "no", "no", "no")
    assert "pip" not in out
    assert err == "Next: hrnet-export hrnet_w18 --weights hrnet_w18.mm_in1k -o w18.onnx\n"


def test_a_cpu_without_half_precision(monkeypatch, capsys):
    on(dataclasses.replace(LAPTOP, half="float32", abilities={"openvino": "FP32, INT8"}), monkeypatch)
    run()
    assert "fp16 runs in float32; this CPU has no half type" in capsys.readouterr().out


def test_an_openvino_that_does_not_load(monkeypatch, capsys):
    on(dataclasses.replace(LAPTOP, half="", abilities={"openvino": "libtbb.so.12: cannot open"}), monkeypatch)
    run()
    out = capsys.readouterr().out
    assert "OpenVINO      does not load: libtbb.so.12: cannot open" in out
    assert cells(out)["OpenVINO CPU"] == ("-", "no", "no", "no")


def test_bare_machine(monkeypatch, capsys):
    on(Environment(packages={"numpy": "2.4.6"}), monkeypatch)
    assert run() == 0
    out, err = capsys.readouterr()
    assert cells(out)["ONNX Runtime CPU"] == ("-", "no", "no", "no")
    lines = [f"  pip install 'hrnet-deploy[{extra}]'" for extra in ("cpu", "openvino", "export")]
    assert "\n".join(lines) in out
    assert err == "Next: pip install 'hrnet-deploy[cpu]'\n"


def test_builds_without_a_gpu(monkeypatch, capsys):
    on(dataclasses.replace(LAPTOP, tensorrt_rtx="1.7.1.116", abilities={"tensorrt-rtx": "typed graphs"}), monkeypatch)
    run()
    assert cells(capsys.readouterr().out)["TensorRT-RTX"] == ("1.7.1.116", "build", "build", "build")


def test_server_with_a_t4(monkeypatch, capsys):
    on(SERVER, monkeypatch)
    run()
    out, err = capsys.readouterr()
    assert "GPU           Tesla T4 (sm75, driver 580.65.06)" in out
    assert cells(out) == {
        "ONNX Runtime CPU": ("1.31.1", "yes", "yes", "yes"),
        "OpenVINO CPU": ("-", "no", "no", "no"),
        "TensorRT": ("10.13.3.9", "yes", "yes", "yes"),
        "TensorRT-RTX": ("-", "no", "no", "no"),
        "ONNX Runtime CUDA": ("1.31.1", "yes", "yes", "no"),
    }
    assert "Problem" not in out
    assert "Not installed yet:\n  pip install 'hrnet-deploy[tensorrt-rtx,cuda]'" in out
    assert err.endswith("--precision fp16 -o w18.engine\n")


def test_gpu_with_the_cpu_build_of_onnxruntime(monkeypatch, capsys):
    on(dataclasses.replace(LAPTOP, gpu=T4), monkeypatch)
    run()
    assert "pip uninstall -y onnxruntime\n  pip install 'hrnet-deploy[export,gpu]'" in capsys.readouterr().out


def test_card_that_is_not_in_the_table(monkeypatch, capsys):
    on(dataclasses.replace(SERVER, gpu=GpuInfo(name="NVIDIA X1", capability="sm190", count=8)), monkeypatch)
    run()
    out = capsys.readouterr().out
    assert "NVIDIA X1 (sm190, driver unknown), the first of 8" in out
    assert "nothing known about sm190: try it" in out


@pytest.mark.parametrize("key", [gpu.key for gpu in gpus()])
@pytest.mark.parametrize("arm", [False, True])
def test_every_card_of_the_table_is_told_alike_as_a_target_and_as_this_machine(key, arm, monkeypatch, capsys):
    gpu = find_gpu(key)
    assert run("--json", "--target", key) == 0
    target = {row["runtime"]: row for row in json.loads(capsys.readouterr().out)["runtimes"]}
    assert list(target) == ["TensorRT", "TensorRT-RTX", "ONNX Runtime CUDA", "ONNX Runtime RTX"]
    device = GpuInfo(name=gpu.name, capability=gpu.sm, driver="590.1", count=1)
    versions = {"onnxruntime-gpu": "1.26.0" if gpu.sm in {"sm60", "sm70"} else "1.31.1"}
    there = dataclasses.replace(
        SERVER,
        packages=versions | {"onnxruntime-ep-nv-tensorrt-rtx": "0.5.0"},
        tensorrt={"p100": "8.6.1", "v100": "10.4.0"}.get(key, "10.16.1"),
        tensorrt_rtx="1.7.1.116",
        gpu=device,
        arm=arm,
    )
    on(there, monkeypatch)
    assert run("--json") == 0
    found = json.loads(capsys.readouterr().out)
    local = {row["runtime"]: row for row in found["runtimes"]}
    differs = {name for name in target if any(target[name][p] != local[name][p] for p in ("fp32", "fp16", "int8"))}
    # onnxruntime-gpu for ARM hosts has no code for what came before Ada.
    older = gpu.architecture in {"Pascal", "Volta", "Turing", "Ampere"} and gpu.host is Host.ANY
    assert differs == ({"ONNX Runtime CUDA"} if arm and older else set())
    assert all(problem["command"].startswith("pip ") for problem in found["problems"])


@pytest.mark.parametrize(
    ("name", "sm", "arm", "words", "command"),
    [
        ("NVIDIA B200", "sm100", False, "no code for sm100.", "pip install 'hrnet-deploy[tensorrt,cuda]'"),
        ("NVIDIA A100", "sm80", True, "no code for sm80 on ARM.", "pip install 'hrnet-deploy[tensorrt,cuda]'"),
        ("Jetson AGX Orin", "sm87", True, "no code for sm87.", "pip install 'hrnet-deploy[export,cpu]'"),
    ],
)
def test_onnxruntime_without_code_for_the_card_is_a_problem_with_a_way_out(name, sm, arm, words, command):
    card = GpuInfo(name=name, capability=sm, driver="590.1", count=1)
    here = Environment(packages={"onnxruntime-gpu": "1.31.1"}, gpu=card, arm=arm)
    (problem,) = problems(here)
    assert problem.text == f"ONNX Runtime CUDA on {name}: the package on PyPI has {words}"
    assert problem.command.startswith(command)


def test_a_pip_tensorrt_that_jetson_cannot_run_is_taken_away():
    orin = GpuInfo(name="Jetson AGX Orin", capability="sm87", driver="590.1", count=1)
    (problem,) = problems(Environment(packages={"tensorrt": "11.4.0.106"}, tensorrt="11.4.0.106", gpu=orin, arm=True))
    assert problem.text == "TensorRT on Jetson AGX Orin: 10.16 is its last version with code for sm87, got 11.4.0.106."
    assert problem.command == "pip uninstall -y tensorrt tensorrt-cu12 tensorrt-cu13"


def test_a_card_without_onnxruntime_gets_the_lines_for_its_cuda():
    b200 = GpuInfo(name="NVIDIA B200", capability="sm100", driver="535.1", count=1)
    found = problems(Environment(packages={"tensorrt-cu13": "10.16.1"}, tensorrt="10.16.1", gpu=b200))
    assert [problem.command for problem in found if "driver 580" in problem.text] == [
        (
            "pip install 'hrnet-deploy[gpu-cu12,tensorrt-cu12,cuda]' 'cuda-bindings<13' "
            "--extra-index-url https://pypi.nvidia.com"
        )
    ]


def test_a_card_that_an_arm_host_serves_less_says_so(capsys):
    run("--target", "a100")
    assert (
        "In an ARM host: no ONNX Runtime CUDA, the package on PyPI has no code for sm80 on ARM."
        in capsys.readouterr().out
    )
    run("--target", "l4")
    assert "ARM" not in capsys.readouterr().out


def packages(**changes):
    return SERVER.packages | {name.replace("_", "-"): version for name, version in changes.items()}


@pytest.mark.parametrize(
    ("found", "text", "command"),
    [
        (
            {"packages": packages(onnxruntime="1.31.1")},
            "onnxruntime and onnxruntime-gpu overwrite",
            "pip uninstall -y onnxr",
        ),
        (
            {"packages": packages(opencv_python="5.0")},
            "opencv-python-headless and opencv-python overwrite",
            "pip uninstall",
        ),
        (
            {"providers": {"CUDA": "libcublasLt.so.13: cannot open shared object file", "CPU": ""}},
            "CUDA provider does not load: libcublasLt.so.13",
            "pip install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'",
        ),
        ({"tensorrt": "11.4.0.106"}, "links TensorRT 10, got 11.4.0.106", "pip install 'tensorrt-cu13>=10.13.2,<11'"),
        (
            {"gpu": dataclasses.replace(T4, driver="535.183.01")},
            "onnxruntime-gpu needs CUDA 13 and driver 580 or newer, got 535.183.01",
            "pip install 'hrnet-deploy[gpu-cu12,tensorrt-cu12,cuda]' 'cuda-bindings<13'",
        ),
        (
            {"packages": packages(onnxruntime_gpu="1.26.0")},
            "CUDA majors differ: onnxruntime-gpu has 12, tensorrt has 13",
            "pip install 'hrnet-deploy[gpu,tensorrt,cuda]'",
        ),
        (
            {
                "packages": packages(onnxruntime_gpu="1.26.0"),
                "gpu": GpuInfo(name="Tesla V100-SXM2-16GB", capability="sm70", driver="580.65.06", count=1),
            },
            "CUDA majors differ",
            "pip install 'hrnet-deploy[export,gpu-cu12]'",
        ),
        (
            {"gpu": GpuInfo(name="Tesla V100-SXM2-16GB", capability="sm70", driver="580.65.06", count=1)},
            "TensorRT on Tesla V100-SXM2-16GB: 10.4 is its last version with code for sm70, got 10.13.3.9",
            "pip install 'hrnet-deploy[tensorrt-volta,cuda]'",
        ),
    ],
)
def test_problems_come_with_the_command_that_repairs_them(found, text, command, monkeypatch, capsys):
    patient = dataclasses.replace(SERVER, **found)
    match = [problem for problem in problems(patient) if text in problem.text]
    assert len(match) == 1, problems(patient)
    assert match[0].command.startswith(command)
    shlex.split(match[0].command)
    on(patient, monkeypatch)
    assert run() == 0
    out, err = capsys.readouterr()
    assert match[0].command in out
    assert err == f"Next: {problems(patient)[0].command}\n"


@pytest.mark.parametrize(
    ("gpu", "extra"),
    [
        (GpuInfo(), "cpu"),
        (T4, "gpu"),
        (GpuInfo(name="NVIDIA B200", capability="sm100", count=1), "cpu"),
        (GpuInfo(name="NVIDIA X1", capability="sm190", count=1), "gpu"),
        (GpuInfo(name="Tesla V100", capability="sm70", count=1), "gpu-cu12"),
    ],
)
def test_of_two_runtimes_the_one_that_fits_the_machine_is_kept(gpu, extra):
    both = Environment(packages={"onnxruntime": "1.26.0", "onnxruntime-gpu": "1.26.0"}, gpu=gpu)
    assert problems(both)[0].command.endswith(f"pip install 'hrnet-deploy[{extra}]'")


@pytest.mark.parametrize("healthy", [LAPTOP, SERVER, Environment()])
def test_healthy_machines_have_no_problem(healthy):
    assert problems(healthy) == ()


def test_this_machine():
    found = probe_environment()
    assert found.packages["numpy"]
    if "onnxruntime" in found.packages:
        assert found.providers["CPU"] == ""
    assert found.gpu.name or found.gpu.note


class FakeRuntime:
    """An onnxruntime-gpu whose CUDA provider is compiled in but does not load."""

    __file__ = "/nowhere/onnxruntime/__init__.py"
    set_default_logger_severity = staticmethod(lambda level: None)
    SessionOptions = type("SessionOptions", (), {})

    @staticmethod
    def preload_dlls():
        print("Failed to load libcudnn.so.9")  # noqa: T201 - as the real one does

    @staticmethod
    def get_available_providers():
        names = ("Tensorrt", "CUDA", "DML", "Azure", "CPU")
        return [f"{name}ExecutionProvider" for name in names]

    class InferenceSession:
        def __init__(self, model, options, providers, enable_fallback=1):
            if enable_fallback:
                sys.stdout.write("*** EP Error ***")
            if providers[0].startswith("Tensorrt"):
                raise RuntimeError("EP Error\nFalling back")

        @staticmethod
        def get_providers():
            return ["CPUExecutionProvider"]


def test_providers_that_are_compiled_in_are_tried(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeRuntime)
    assert environment._providers() == {
        "TensorRT": "EP Error Falling back",
        "CUDA": "its library is not part of this build",
        "DML": "it fell back to the CPU",
        "CPU": "",
    }
    assert capsys.readouterr().out == ""


def test_broken_onnxruntime_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "onnxruntime" in environment._providers()["CPU"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'Tesla T4, 535.183.01, 7.5'; echo 'Tesla T4, 535.183.01, 7.5'", ("Tesla T4", "sm75", "535.183.01", 2)),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver.'; exit 9", ("", "", "", 0)),
        ("exit 0", ("", "", "", 0)),
        ("echo one; echo two", ("", "", "", 0)),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="writes a shell script")
def test_nvidia_smi(script, expected, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    none = types.SimpleNamespace(device_count=lambda: 0)
    monkeypatch.setattr("hrnet_deploy.engines.cuda.provider.open_cuda", lambda _provider: none)
    gpu = probe_environment().gpu
    assert (gpu.name, gpu.capability, gpu.driver, gpu.count) == expected
    assert bool(gpu.note) is not bool(gpu.name)
    assert "\n" not in gpu.note


def test_without_any_optional_package():
    """A meta path that refuses them all, and an empty list of distributions."""
    code = (
        "import sys, importlib.metadata as m\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in 'onnxruntime torch onnx tensorrt tensorrt_rtx cuda pycuda'.split():\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
    ) + COMMAND
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not installed") >= 5
    assert done.stderr == "Next: pip install 'hrnet-deploy[cpu]'\n"


def test_as_a_command():
    command = [sys.executable, "-c", COMMAND, "--target"]
    done = subprocess.run([*command, "t4", "--json"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gpu"]["sm"] == "sm75"
    done = subprocess.run([*command, "banana"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_json_of_this_machine(capsys):
    assert run("--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"machine", "runtimes", "problems", "install"}
    assert content["runtimes"][0]["runtime"] == "ONNX Runtime CPU"


def test_wrong_version_is_told_once_and_first():
    broken = dataclasses.replace(
        SERVER,
        gpu=GpuInfo(name="Tesla V100-SXM2-16GB", capability="sm70", driver="535.183.01", count=1),
        providers={"CUDA": "libcublasLt.so.13: cannot open shared object file", "CPU": ""},
    )
    texts = [problem.text for problem in problems(broken)]
    assert len(texts) == 2
    assert "10.4 is its last version" in texts[0]
    assert "1.26 is its last version" in texts[1]
