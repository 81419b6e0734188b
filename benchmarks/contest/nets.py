"""Every net, precision and batch: ours against every peer, the engine alone and from JPEG bytes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from contest import peers
from contest.section import Key, Record, Records
from contest.setting import ALL_INT8, CALIBRATION_IMAGES, NETS, Setting, say
from contest.table import Table
from contest.turns import Call, Times, in_turns, ratio
from hrnet_deploy import Predictor
from hrnet_deploy.engines.openvino.runtime import is_installed

FP32_TOO = "ours in FP32, onnxruntime"
PLAIN = "plain script, ONNX Runtime"
EAGER_FROM_JPEG = "torch eager, from JPEG"
_FROM_JPEG = ", from JPEG"
_ALL_INT8 = ", --keep-fp none"
_BATCH = "batch-"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """(net, precision, batch-N)."""
    batches = ("1",) if quick else ("1", "8")
    return [(name, precision, _BATCH + batch) for name in names for precision in ("fp32", "int8") for batch in batches]


def measure(setting: Setting, key: Key) -> Record:
    """Everyone for one net, precision and batch; who cannot be set up is noted and left out."""
    calls: dict[str, Call] = {}
    answers, set_up_s, notes = {}, {}, []
    for name, make in _makers(setting, key).items():
        say(f"nets {' '.join(key)}: opens {name}")
        began = time.perf_counter()
        try:
            calls[name] = make()
            answers[name] = calls[name]()
        except Exception as error:  # noqa: BLE001 - one contender less
            calls.pop(name, None)
            notes.append(f"{' '.join(key)}, {name}: {type(error).__name__}: {str(error)[:160]}")
        set_up_s[name] = round(time.perf_counter() - began, 1)
    say(f"nets {' '.join(key)}: measures {len(calls)} contenders")
    record: Record = {"times": in_turns(calls, seconds=setting.seconds, least=setting.rounds)}
    ours = engine(record["times"])
    if ours is not None and PLAIN in calls:
        record["alike"] = float(np.mean(np.argmax(answers[ours], 1) == np.argmax(answers[PLAIN], 1)))
    return record | {"set_up_s": set_up_s, "notes": notes}


def table(records: Records) -> Table:
    """A line a contender."""
    head = ("net", "precision", "batch", "contender", "ms an image", "theirs / our engine", "theirs / ours from JPEG")
    lines = Table("Nets", (*head, "rounds"))
    for (name, precision, batch_word), record in records.items():
        batch = batch_word.removeprefix(_BATCH)
        times: Times = record["times"]
        best, whole = engine(times), from_jpeg(times)
        for contender, taken in times.items():
            over = "-" if best is None else f"{ratio(taken, times[best]):.2f}"
            end_to_end = "-" if whole is None or "JPEG" not in contender else f"{ratio(taken, times[whole]):.2f}"
            each = f"{1e3 * statistics.median(taken) / int(batch):.2f}"
            lines.rows.append((name, precision, batch, contender, each, over, end_to_end, str(len(taken))))
        for backend, gain in int8_gains(times).items():
            lines.notes.append(f"{name} batch {batch}: INT8 by {backend} is {gain:.2f} x our FP32")
        lines.notes += record["notes"]
    return lines


def engine(times: Times) -> str | None:
    """The fastest of our engines alone; None where there is none."""
    return min(_engines(times), key=lambda name: statistics.median(times[name]), default=None)


def from_jpeg(times: Times) -> str | None:
    """The same one from JPEG bytes; None where there is none."""
    whole = f"{engine(times)}{_FROM_JPEG}"
    return whole if whole in times else None


def int8_gains(times: Times) -> dict[str, float]:
    """How much faster our INT8 is than our FP32 on ONNX Runtime, by backend; empty for an FP32 group."""
    if FP32_TOO not in times:
        return {}
    return {name.removeprefix("ours, "): ratio(times[FP32_TOO], times[name]) for name in _engines(times)}


def all_int8(times: Times) -> str | None:
    """The fastest of our engines of which nothing stays in floating point; None where there is none."""
    whole = (name for name in times if name.endswith(_ALL_INT8))
    return min(whole, key=lambda name: statistics.median(times[name]), default=None)


def peers_of(times: Times) -> list[str]:
    """Others that were given the same array."""
    return [name for name in times if not name.startswith("ours") and "JPEG" not in name]


def _engines(times: Times) -> list[str]:
    return [name for name in times if name.startswith("ours, ") and not name.endswith((_FROM_JPEG, _ALL_INT8))]


def _makers(setting: Setting, key: Key) -> dict[str, Callable[[], Call]]:
    """Who takes part, and how each is opened."""
    variant, precision, batch = key[0], key[1], int(key[2].removeprefix(_BATCH))
    size_hw, folder = NETS[variant], setting.folder
    contents = [file.read_bytes() for file in setting.jpegs(max(batch, CALIBRATION_IMAGES))]
    rows = [peers.by_pillow(content, size_hw) for content in contents]
    array = np.stack(rows[:batch])

    def plain() -> Path:
        return peers.plain_onnx(variant, size_hw, folder)

    def ours(backend: str, kind: str, *ends: str, whole: bool = False) -> Call:
        path = setting.artefact(variant, kind, size_hw, peers.checkpoint(variant, folder), *ends)
        predictor = Predictor(path, device="cpu", backend=backend)
        if whole:
            return lambda: predictor.predict(contents[:batch] if batch > 1 else contents[0], batch=batch)
        return lambda: next(iter(predictor.infer(array).values()))

    makers: dict[str, Callable[[], Call]] = {}
    for whole in (False, True):
        for backend in ("onnxruntime", *(("openvino",) if is_installed() else ())):
            made = functools.partial(ours, backend, precision, whole=whole)
            makers[f"ours, {backend}{_FROM_JPEG * whole}"] = made
            if precision == "int8" and not whole:
                makers[f"ours, {backend}{_ALL_INT8}"] = functools.partial(ours, backend, precision, ALL_INT8)
    if precision == "int8":
        return makers | {
            FP32_TOO: lambda: ours("onnxruntime", "fp32"),
            "ONNX Runtime quantize_static": lambda: peers.plain_session(peers.quantised_onnx(plain(), rows), array),
            "OpenVINO + NNCF": lambda: peers.openvino_net(peers.quantised_openvino(plain(), rows), array),
        }
    makers |= {
        PLAIN: lambda: peers.plain_session(plain(), array),
        "OpenVINO": lambda: peers.openvino_net(plain(), array),
        "torch eager": lambda: peers.eager(variant, array),
        EAGER_FROM_JPEG: lambda: peers.eager_from_jpeg(variant, contents[:batch], size_hw),
    }
    if variant in setting.compiled:
        makers["torch.compile"] = lambda: peers.compiled(variant, array)
    return makers
