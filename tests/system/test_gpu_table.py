"""The table of cards and the policy drawn from it."""

import re
from pathlib import Path

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.gpu_table import Runtime, find_gpu, gpus, objection, pip_lines, provider_refusal, refusal

TRT, RTX, CUDA = Runtime.TENSORRT, Runtime.TENSORRT_RTX, Runtime.ONNXRUNTIME_CUDA
PLUGIN = Runtime.ONNXRUNTIME_RTX
FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("t4", "t4"),
        ("T4", "t4"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 2080 Ti", "rtx20xx"),
        ("rtx3090", "rtx30xx"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "rtx40xx"),
        ("RTX 5090", "rtx50xx"),
        ("rtx50xx", "rtx50xx"),
        ("Jetson AGX Orin", "orin"),
        ("NVIDIA GB10", "gb10"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA Thor", "thor"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtxpro"),
        ("RTX PRO 4000", "rtxpro"),
        ("NVIDIA A2", "a2"),
        ("NVIDIA A16", "a16"),
        ("NVIDIA L20", "l20"),
        ("10.0", "sm100"),
        ("11.0", "sm110"),
        ("sm86", "sm86"),
        ("SM_75", "sm75"),
        ("8.6", "sm86"),
        ("12.0", "sm120"),
    ],
)
def test_find_gpu(text, key):
    assert find_gpu(text).key == key


def test_capability_gives_what_its_cards_share():
    gpu = find_gpu("sm86")
    assert (gpu.sm, gpu.name) == ("sm86", "GPU of compute capability 8.6")
    shared = (
        *("int8_tensor_cores", "bf16", "tensorrt_max", "onnxruntime_gpu_max", "onnxruntime_gpu_arm"),
        *("rtx", "rtx_int8_convolution"),
    )
    for row in gpus():
        assert [getattr(row, n) for n in shared] == [getattr(find_gpu(row.sm), n) for n in shared], row.key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "banana",
        "sm10",
        "sm999",
        "RTX",
        "Quadro RTX 4000",
        "NVIDIA RTX 4000 Ada Generation",
        "RTX A2000",
        "GeForce RTX 2050",
    ],
)
def test_unknown_gpu_lists_the_known_ones(text):
    with pytest.raises(UsageError, match=r"sm86, got '.*'.*nvidia-smi") as caught:
        find_gpu(text)
    assert "v100" in str(caught.value)


@pytest.mark.parametrize(
    ("gpu", "runtime", "precision", "version", "words"),
    [
        ("v100", TRT, FP16, None, None),
        ("v100", TRT, FP32, "10.4.0.26", None),
        ("v100", TRT, FP16, "8.6.1", None),
        ("v100", TRT, FP16, "10.5.0.18", "10.4 is its last version.*got 10.5.0.18.*tensorrt-volta"),
        ("v100", TRT, FP16, "11.4.0.106", "10.4"),
        ("v100", TRT, INT8, None, r"no INT8 tensor cores.*Use fp16$"),
        ("v100", RTX, FP16, None, "sm70 is not on its list.*Use TensorRT"),
        ("v100", CUDA, FP16, "1.26.0", None),
        ("v100", CUDA, FP16, "1.28.0", "1.26 is its last version.*gpu-cu12"),
        ("v100", CUDA, INT8, None, r"slower than fp32\. Use fp16$"),
        ("t4", TRT, INT8, "11.4.0.106", None),
        ("t4", TRT, FP16, None, None),
        ("t4", RTX, FP32, None, None),
        ("t4", RTX, FP16, None, None),
        ("t4", RTX, INT8, None, r"no INT8 convolution there\. Use fp16 or TensorRT$"),
        ("t4", CUDA, INT8, None, "slower than fp32.*Use fp16 or TensorRT"),
        ("t4", CUDA, FP32, "1.31.1", None),
        ("sm75", RTX, INT8, None, "no INT8 convolution"),
        ("a10", RTX, INT8, None, None),
        ("a30", RTX, FP16, None, None),
        ("h200", RTX, FP16, None, "sm90 is not on its list"),
        ("h100", TRT, INT8, None, None),
        ("orin", RTX, FP32, None, "sm87 is not on its list"),
        ("orin", CUDA, FP16, None, "no code for sm87.*JetPack"),
        ("orin", TRT, INT8, None, None),
        ("orin", TRT, INT8, "10.16.1.11", None),
        ("orin", TRT, FP16, "11.4.0.106", r"10.16 is its last version.*got 11.4.0.106\. Use JetPack's TensorRT$"),
        ("thor", TRT, FP16, "11.4.0.106", "10.16 is its last version"),
        ("thor", CUDA, FP16, None, "no code for sm110.*JetPack"),
        ("b200", TRT, INT8, "11.4.0.106", None),
        ("b200", CUDA, FP32, None, r"no code for sm100\. Use TensorRT$"),
        ("b300", CUDA, FP16, "1.31.1", "no code for sm103"),
        ("gb200", RTX, FP16, None, "sm100 is not on its list"),
        ("gh200", CUDA, FP16, "1.31.1", None),
        ("rtxpro", RTX, INT8, None, None),
        ("rtxpro", CUDA, FP16, "1.31.1", None),
        ("t4", PLUGIN, FP16, None, r"the plugin needs Ampere or later\. Use TensorRT-RTX$"),
        ("h100", PLUGIN, FP16, None, "sm90 is not on its list"),
        ("a10", PLUGIN, INT8, None, None),
        ("p100", TRT, FP16, "10.0.1", "8.6 is its last version"),
        ("p100", TRT, INT8, None, "no INT8 tensor cores"),
        ("gb10", RTX, INT8, None, None),
    ],
)
def test_refusal(gpu, runtime, precision, version, words):
    found = refusal(find_gpu(gpu), runtime, precision, version)
    if words is None:
        assert found is None
    else:
        assert re.search(words, found), found
        assert "\n" not in found
        assert found.startswith(f"{runtime.label} cannot usefully run {precision.value} on ")


@pytest.mark.parametrize(
    ("gpu", "arm", "refused"),
    [
        ("a100", True, "sm80 on ARM"),
        ("a100", False, None),
        ("a100", None, None),
        ("t4", True, "sm75 on ARM"),
        ("v100", True, "sm70 on ARM"),
        ("rtx30xx", True, "sm86 on ARM"),
        ("l4", True, None),
        ("h100", True, None),
        ("rtx50xx", True, None),
        ("gb10", None, None),
        ("gh200", None, None),
        ("orin", None, "sm87"),
        ("b200", True, "sm100"),
    ],
)
def test_onnxruntime_for_arm_hosts_has_code_for_fewer_cards(gpu, arm, refused):
    found = refusal(find_gpu(gpu), CUDA, FP16, arm=arm)
    assert (found is None) is (refused is None)
    assert refused is None or f"no code for {refused}. Use" in found
    lines = pip_lines(find_gpu(gpu), arm=arm)
    assert any("onnxruntime-gpu" in line for line in lines) is (refused is None)
    assert len(lines) == 1 or any("[tensorrt" in line for line in lines)


def test_every_card_runs_fp16_somewhere():
    for gpu in gpus():
        assert any(objection(gpu, runtime, FP16) is None for runtime in Runtime), gpu.key


@pytest.mark.parametrize(
    ("version", "fits"), [("10.13.3.9", True), ("11.4.0.106", False), ("8.6.1", False), ("", False)]
)
def test_tensorrt_provider(version, fits):
    found = provider_refusal(version)
    assert (found is None) is fits
    assert fits or "links TensorRT 10" in found


def test_pip_lines_name_extras_that_exist():
    tomllib = pytest.importorskip("tomllib", reason="reading TOML came with Python 3.11")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for gpu in gpus():
        for line in pip_lines(gpu):
            assert line.startswith("pip install 'hrnet-deploy[")
            assert len(line) <= 98
            for group in re.findall(r"hrnet-deploy\[([^\]]+)\]", line):
                assert set(group.split(",")) <= set(extras), line


def test_pip_lines_keep_the_limits_of_the_table():
    tomllib = pytest.importorskip("tomllib", reason="reading TOML came with Python 3.11")
    requirements = pytest.importorskip("packaging.requirements")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def allows(extra, version):
        return requirements.Requirement(extras[extra][0]).specifier.contains(version)

    assert allows("tensorrt-volta", "10.4.0")
    assert not allows("tensorrt-volta", "10.5.0")
    assert allows("gpu-cu12", "1.26.0")
    assert not allows("gpu-cu12", "1.27.0")
    v100 = " ".join(pip_lines(find_gpu("v100")))
    assert "[export,gpu-cu12]" in v100
    assert "tensorrt-volta" in v100
    assert "'cuda-bindings<13'" in v100
    assert "rtx" not in v100
    t4 = " ".join(pip_lines(find_gpu("t4")))
    assert "[export,gpu]" in t4
    assert "[tensorrt,cuda]" in t4
    assert "[tensorrt-rtx,cuda]" in t4


def test_every_row_says_where_it_is_from():
    keys = [gpu.key for gpu in gpus()]
    assert len(set(keys)) == len(keys)
    for gpu in gpus():
        assert gpu.source
        assert not gpu.source.startswith("as ") or gpu.source[3:] in keys
        assert re.fullmatch(r"sm\d{2,3}", gpu.sm)
        assert not gpu.rtx_int8_convolution or gpu.rtx
