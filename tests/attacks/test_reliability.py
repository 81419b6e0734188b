"""What a killed command leaves on the disk: whole files under their names, and nothing that the next run keeps.

HRNET_DEPLOY_KILLS sets the kills of each command (default 4, half of them before an operation on the disk, half at a
time); HRNET_DEPLOY_SOAK_S sets the seconds of the soak (default 20).
"""

import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux: forked children, /proc and locks", allow_module_level=True)

from helpers.forked_command import Started, run
from helpers.toy_runs import check_whole, commands, digests, fresh, hidden, write_inputs

from hrnet_deploy import Predictor
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.report import write_report

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("HRNET_DEPLOY_KILLS", "2"))
SOAK_S = float(os.environ.get("HRNET_DEPLOY_SOAK_S", "20"))
THREADS = 8
NAMES = ("fp32", "int8", "traced", "triton", "report", "save", "jsonl", "masks")
AGAIN = {"fp32", "int8", "traced", "report", "save"}
"""Commands that replace what an earlier run wrote."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Inputs of all commands; the process that forks them has imported the package."""
    folder = write_inputs(tmp_path_factory.mktemp("inputs"))
    start(folder, "fp32", fresh(folder, "first")).wait()
    return folder


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    """(name of a command) -> its folder and end, run once."""
    done = {}

    def of(name):
        if name not in done:
            folder = fresh(tmp_path_factory.mktemp("undisturbed"), name)
            ended = start(root, name, folder).wait()
            assert (ended.code, hidden(folder)) == (0, []), ended.err
            assert check_whole(folder / "out")
            done[name] = folder, ended
        return done[name]

    return of


def start(root, name, folder, *, change=(), **options):
    """Start a command in a folder with a cache and a folder of temporary files of its own."""
    environment = {"HRNET_DEPLOY_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    words = (*commands(root)[name], *change)
    return Started(words, folder, environment=environment, **options)


def check_next_run(root, name, folder, expected):
    """The next run succeeds, leaves nothing hidden, and writes the bytes of an undisturbed run."""
    ended = start(root, name, folder).wait()
    assert (ended.code, hidden(folder)) == (0, []), ended.err
    assert check_whole(folder / "out")
    if name != "triton":  # whose versions count up
        assert digests(folder / "out") == digests(expected / "out")


def moments(name, operations, seconds, kills):
    """Half before an operation, half at a time; every operation where there are kills enough."""
    chosen = np.random.default_rng(list(name.encode()))
    numbers = chosen.permutation(operations)[: kills // 2] + 1
    times = chosen.uniform(0, seconds, kills - kills // 2)
    return [{"kill_before": int(number)} for number in numbers] + [{"after": float(after)} for after in times]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_leaves_whole_files_and_the_next_one_succeeds(root, undisturbed, tmp_path, name):
    expected, ended = undisturbed(name)
    for index, moment in enumerate(moments(name, ended.operations, ended.seconds, KILLS)):
        folder = fresh(tmp_path, f"{index}")
        if index % 2 and name in AGAIN:
            shutil.copytree(expected / "out", folder / "out", dirs_exist_ok=True)
        change = ("--threads", "2") if name == "report" else ()
        if "after" in moment:
            killed = start(root, name, folder, change=change).signal_after(moment["after"]).wait()
        else:
            killed = start(root, name, folder, change=change, **moment).wait()
        assert killed.code in {0, -signal.SIGKILL}, killed.err
        check_whole(folder / "out")
        check_next_run(root, name, folder, expected)
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_run_leaves_whole_files_and_the_next_one_succeeds(root, undisturbed, tmp_path, name, number):
    expected, ended = undisturbed(name)
    chosen = np.random.default_rng([number, *name.encode()])
    for index, after in enumerate(chosen.uniform(0, ended.seconds, max(1, KILLS // 4))):
        folder = fresh(tmp_path, f"{index}")
        stopped = start(root, name, folder).signal_after(after, number).wait()
        check_whole(folder / "out")
        if stopped.code == 128 + signal.SIGINT:  # it could clear up; the journal stays for the next run
            left = [each for each in hidden(folder) if ".journal" not in each]
            assert left == []
        check_next_run(root, name, folder, expected)


@pytest.mark.parametrize("dies", range(1, 8))
def test_a_report_is_complete_where_its_json_is(tmp_path, dies):
    """Every change of a name while the four files of a second report replace those of a first one."""
    write_four(tmp_path, "first")
    child = os.fork()
    if not child:
        count = [0]

        def die(event, _given):
            counts = event in {"os.rename", "os.remove"}
            count[0] += counts
            if counts and count[0] == dies:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        write_four(tmp_path, "second")
        os._exit(0)
    os.waitpid(child, 0)
    texts = {path.name: path.read_text().strip() for path in tmp_path.glob("report.*")}
    if "report.json" in texts:
        assert len(texts) == 4
        assert len(set(texts.values())) == 1, texts
    assert set(texts.values()) <= {"first", "second"}
    write_four(tmp_path, "third")
    assert {path.read_text().strip() for path in tmp_path.glob("report.*")} == {"third"}


def write_four(folder, text):
    """Write a report whose four files hold one text."""
    module = sys.modules[write_report.__module__]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("as_html", "as_markdown"):
            patch.setattr(module, name, lambda _: text)
        patch.setattr(module, "csv_table", lambda _: type("Table", (), {"csv": lambda _: text})())
        patch.setattr(module.json, "dumps", lambda *_, **__: text)
        patch.setattr(module, "to_record", lambda _: {})
        write_report(None, folder)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_on_one_output_both_succeed(root, undisturbed, tmp_path, name):
    expected, _ = undisturbed(name)
    folder = fresh(tmp_path, "both")
    other = folder.with_name("the_same")  # so that each command has a log of its own
    other.symlink_to(folder)
    ended = [each.wait() for each in [start(root, name, folder), start(root, name, other)]]
    assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
    assert hidden(folder) == []
    assert check_whole(folder / "out")
    if name != "triton":
        assert digests(folder / "out") == digests(expected / "out")


def test_two_processes_on_one_cold_cache_agree(root, tmp_path):
    """An INT8 graph is compiled by both, and kept once."""
    folder, words = fresh(tmp_path, "cache_run"), ("predict", root / "int8.onnx", root / "data/val", "--device", "cpu")
    for backend in ("onnxruntime", "openvino"):
        environment = {"HRNET_DEPLOY_CACHE": str(folder / "cache")}
        given = (*words, "--backend", backend)
        both = [Started(given, place, environment=environment) for place in (folder, fresh(tmp_path, backend))]
        ended = [each.wait() for each in both]
        assert [each.code for each in ended] == [0, 0], [each.err for each in ended]
        (kept,) = (folder / "cache/compiled").glob(f"{backend}-*")
        assert len(list(kept.iterdir())) == 1
        assert hidden(kept) == []


def test_a_killed_compilation_leaves_nothing_to_the_next(root, tmp_path):
    """The cache of compiled graphs: killed before each of its operations, then used."""
    words = ("predict", root / "int8.onnx", root / "data/val", "--device", "cpu", "--backend", "onnxruntime")
    for index in range(1, 11) if KILLS >= 10 else (4, 9, 10):  # the last ones are after the rename
        folder = fresh(tmp_path, f"compiled{index}")
        environment = {"HRNET_DEPLOY_CACHE": str(folder / "cache")}
        run(words, folder, kill_before=index, environment=environment)
        ended = run(words, folder, environment=environment)
        assert (ended.code, hidden(folder)) == (0, []), ended.err


def test_eight_threads_of_one_predictor_agree_and_memory_stays(root, record_property):
    images = synthetic_images(THREADS, (96, 128))
    with Predictor(root / "masks.onnx", device="cpu", threads=1) as predictor:
        expected = [predictor.predict(image).mask for image in images]
        curve, wrong, counts = [], [], [0] * THREADS
        end = time.monotonic() + SOAK_S

        def work(index):
            while time.monotonic() < end:
                for image, mask in zip(images, expected, strict=True):
                    if not np.array_equal(predictor.predict(image).mask, mask):
                        wrong.append(index)
                counts[index] += len(images)

        def watch():
            while time.monotonic() < end:
                curve.append(resident_mib())
                time.sleep(min(1, SOAK_S / 20))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        watcher.join()
    record_property("predictions", sum(counts))
    record_property("resident_mib", [round(each) for each in curve[:: max(1, len(curve) // 18)]])
    assert wrong == []
    assert min(counts) > 0
    middle = curve[len(curve) // 2 :]
    assert max(middle) - min(middle) < 32, curve


def resident_mib():
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
