import platform

import pytest

from hrnet_deploy.system import processor
from hrnet_deploy.system.processor import clock_mhz, has_vnni, is_arm, model_name, processor_key


@pytest.fixture
def cpuinfo(tmp_path):
    """(text) -> folder whose /proc/cpuinfo holds it."""

    def write(text):
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("machine", "expected"), [("aarch64", True), ("arm64", True), ("ARM64", True), ("x86_64", False), ("AMD64", False)]
)
def test_arm_is_known_by_the_names_of_each_system(machine, expected, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert is_arm() is expected


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags\t\t: fpu avx512f avx512_vnni\n", True),
        ("x86_64", "flags\t\t: fpu avx2 avx_vnni\n", True),
        ("x86_64", "flags\t\t: fpu avx2\n", False),
        ("x86_64", "", None),
        ("aarch64", "Features\t: asimd i8mm\n", None),
    ],
)
def test_vnni_is_read_from_the_flags_of_x86(machine, flags, expected, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "read_system_file", lambda _: flags)
    assert has_vnni() is expected


def test_the_first_core_names_the_model_and_the_clock(cpuinfo):
    root = cpuinfo("model name\t: First\ncpu MHz\t\t: 2400.5\n\nmodel name\t: Second\ncpu MHz\t\t: 800.0\n")
    assert model_name(root) == "First"
    assert clock_mhz(root) == 2400.5


@pytest.mark.parametrize("text", ["", "model name\t:\nflags\t: x\n", "cpu MHz\t\t: unknown\n"])
def test_a_system_without_these_entries_still_has_a_name(text, cpuinfo):
    root = cpuinfo(text)
    assert model_name(root) == (platform.processor() or platform.machine() or "unknown")
    assert clock_mhz(root) is None


def test_a_key_holds_more_than_the_architecture():
    assert processor_key() == processor_key()
    assert len(processor_key()) > 3
