"""What is noted of a machine, and what it is warned about."""

import dataclasses

import pytest

from hrnet_deploy.system import load_snapshot, nvidia_smi
from hrnet_deploy.system.load_snapshot import (
    CpuState,
    GpuState,
    Snapshot,
    describe,
    gpu_states,
    take_snapshot,
    warnings,
)
from hrnet_deploy.system.nvidia_smi import parse_rows

CPU = CpuState(model="A CPU", cores=4, governor="performance", mhz=3000.0, max_mhz=3000.0, load=0.5)
GPU = GpuState(name="Tesla T4", driver="570.1", clock_mhz=1590.0, max_clock_mhz=1590.0)
CALM = Snapshot(time="2026-01-01T00:00:00+00:00", system="Linux", processor=CPU, gpus=(GPU,), packages={"numpy": "2"})


def changed(cpu=None, gpu=None):
    return dataclasses.replace(
        CALM,
        processor=dataclasses.replace(CPU, **(cpu or {})),
        gpus=(dataclasses.replace(GPU, **(gpu or {})),),
    )


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (CALM, CALM, None),
        (changed({"load": 4.5}), CALM, "load before the start was 4.5 on 4 cores"),
        (changed({"load": 1.5, "cores": 1}), CALM, "1.5 on 1 core:"),
        (changed({"load": None, "governor": "", "mhz": None, "max_mhz": None}), CALM, None),
        (changed({"governor": "powersave", "mhz": 800.0}), CALM, "governor 'powersave'"),
        (changed({"mhz": 2000.0}), CALM, "2000 of 3000 MHz"),
        (CALM, changed(gpu={"clock_mhz": 600.0}), "Tesla T4 ran at 600 of 1590 MHz"),
        (changed(gpu={"clock_mhz": 300.0}), CALM, None),  # it rested before the start
        (CALM, changed(gpu={"clock_mhz": None}), None),
    ],
)
def test_warnings(before, after, words):
    found = warnings(before, after)
    assert (words in found[0] and len(found) == 1) if words else found == []


@pytest.mark.parametrize(("load", "busy"), [(None, False), (0.5, False), (4.0, False), (4.1, True)])
def test_more_load_than_cores_is_busy(load, busy):
    assert dataclasses.replace(CPU, load=load).busy is busy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Tesla T4, driver 570.1, 1590 of 1590 MHz"),
        ({"temperature_c": 45.0}, "Tesla T4, driver 570.1, 1590 of 1590 MHz, 45 \N{DEGREE SIGN}C"),
        ({"max_clock_mhz": None}, "Tesla T4, driver 570.1, 1590 MHz"),
        ({"clock_mhz": None}, "Tesla T4, driver 570.1"),
    ],
)
def test_a_gpu_on_one_line(changes, said):
    assert str(dataclasses.replace(GPU, **changes)) == said


def test_a_gpu_is_not_asked_for_where_none_is_used(monkeypatch):
    monkeypatch.setattr(load_snapshot, "query_gpus", lambda *_: ([["Tesla T4", "570.1", "1590", "1590", "", ""]], ""))
    assert take_snapshot().gpus == (GPU,)
    assert take_snapshot(gpu=False).gpus == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Tesla T4, 570.1, 1590, 1590, 45, 30.5\n", (45.0, 30.5)),
        ("Tesla T4, 570.1, [N/A], 1590, 45, [Not Supported]\n", (45.0, None)),
        ("", None),
        ("Failed to initialize NVML\n", None),
    ],
)
def test_nvidia_smi_is_read(text, expected):
    found = gpu_states(parse_rows(text, 6))
    assert (found[0].temperature_c, found[0].power_w) == expected if expected else found == ()


def test_frequency_and_governor_are_read_where_the_system_tells(tmp_path):
    scaling = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    scaling.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("model name\t: First\n\nmodel name\t: Second\n")
    for name, text in (("cur_freq", "1800000"), ("max_freq", "3600000"), ("governor", "schedutil")):
        (scaling / f"scaling_{name}").write_text(text + "\n")
    cpu = take_snapshot(tmp_path).processor
    assert (cpu.model, cpu.governor, cpu.mhz, cpu.max_mhz) == ("First", "schedutil", 1800.0, 3600.0)


def test_a_system_that_tells_nothing_is_described_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(nvidia_smi.shutil, "which", lambda _: None)
    found = take_snapshot(tmp_path)
    assert found.gpus == ()
    assert found.processor.mhz is None
    assert found.processor.cores >= 1
    assert describe(found, found)[0].startswith("CPU: ")


def test_clocks_before_and_after_stand_side_by_side():
    lines = describe(CALM, changed({"load": 3.5}, {"clock_mhz": 1200.0}))
    assert "load 0.5 before, 3.5 after" in lines[0]
    assert "clock 1590 MHz before, 1200 after of 1590" in lines[1]
