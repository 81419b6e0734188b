"""Every model, precision and batch: ours against every baseline, the engine alone and from JPEG bytes."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comparison import baselines
from comparison.config import CALIBRATION_IMAGES, MODELS, Config, Key, Record, Records, log
from comparison.interleave import Call, Times, ratio, time_rounds
from comparison.table import Table
from hrnet_deploy import Predictor
from hrnet_deploy.engines.openvino.runtime import is_installed

FP32_TOO = "ours in FP32, onnxruntime"
PLAIN = "plain script, ONNX Runtime"
EAGER_FROM_JPEG = "torch eager, from JPEG"
_FROM_JPEG = ", from JPEG"
_ALL_INT8 = ", --keep-fp none"
_BATCH = "batch-"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """Return (model, precision, batch-N)."""
    batches = ("1",) if quick else ("1", "8")
    return [(name, precision, _BATCH + batch) for name in names for precision in ("fp32", "int8") for batch in batches]


def measure(config: Config, key: Key) -> Record:
    """Time every contender of one group; one that cannot be set up becomes a note."""
    calls: dict[str, Call] = {}
    outputs, set_up_s, notes = {}, {}, []
    for name, make in _makers(config, key).items():
        log(f"throughput {' '.join(key)}: opens {name}")
        began = time.perf_counter()
        try:
            calls[name] = make()
            outputs[name] = calls[name]()
        except Exception as error:  # noqa: BLE001 - one contender less
            calls.pop(name, None)
            notes.append(f"{' '.join(key)}, {name}: {type(error).__name__}: {str(error)[:160]}")
        set_up_s[name] = round(time.perf_counter() - began, 1)
    log(f"throughput {' '.join(key)}: measures {len(calls)} contenders")
    record: Record = {"times": time_rounds(calls, seconds=config.seconds)}
    ours = engine(record["times"])
    if ours is not None and PLAIN in calls:
        record["equal"] = float(np.mean(np.argmax(outputs[ours], 1) == np.argmax(outputs[PLAIN], 1)))
    return record | {"set_up_s": set_up_s, "notes": notes}


def table(records: Records) -> Table:
    """Tabulate one contender a row."""
    head = ("model", "precision", "batch", "contender", "ms an image", "theirs / our engine", "theirs / ours from JPEG")
    lines = Table("Throughput", (*head, "rounds"))
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
    """Return our fastest engine alone, or None."""
    return min(_engines(times), key=lambda name: statistics.median(times[name]), default=None)


def from_jpeg(times: Times) -> str | None:
    """Return the same engine from JPEG bytes, or None."""
    whole = f"{engine(times)}{_FROM_JPEG}"
    return whole if whole in times else None


def int8_gains(times: Times) -> dict[str, float]:
    """Return the gain of our INT8 over our FP32 on ONNX Runtime by backend; empty for an FP32 group."""
    if FP32_TOO not in times:
        return {}
    return {name.removeprefix("ours, "): ratio(times[FP32_TOO], times[name]) for name in _engines(times)}


def all_int8(times: Times) -> str | None:
    """Return our fastest engine with every layer in INT8, or None."""
    whole = (name for name in times if name.endswith(_ALL_INT8))
    return min(whole, key=lambda name: statistics.median(times[name]), default=None)


def baselines_of(times: Times) -> list[str]:
    """Return the baselines that take the same array."""
    return [name for name in times if not name.startswith("ours") and "JPEG" not in name]


def _engines(times: Times) -> list[str]:
    return [name for name in times if name.startswith("ours, ") and not name.endswith((_FROM_JPEG, _ALL_INT8))]


def _makers(config: Config, key: Key) -> dict[str, Callable[[], Call]]:
    """Return how each contender is opened."""
    variant, precision, batch = key[0], key[1], int(key[2].removeprefix(_BATCH))
    size_hw, folder = MODELS[variant], config.folder
    contents = [file.read_bytes() for file in config.jpegs(max(batch, CALIBRATION_IMAGES))]
    rows = [baselines.by_pillow(content, size_hw) for content in contents]
    array = np.stack(rows[:batch])
    plain = functools.partial(baselines.plain_onnx, variant, size_hw, folder)

    def ours(backend: str, kind: str = precision, *, whole: bool = False, **options: Any) -> Call:
        path = config.artifact(variant, kind, size_hw, baselines.checkpoint(variant, folder), **options)
        predictor = Predictor(path, device="cpu", backend=backend)
        if whole:
            return lambda: predictor.predict(contents[:batch] if batch > 1 else contents[0], batch=batch)
        return lambda: next(iter(predictor.infer(array).values()))

    def onnxruntime(graph: Path) -> Call:
        return functools.partial(baselines.plain_session(graph), array)

    def openvino(graph: Path) -> Call:
        return functools.partial(baselines.openvino_request(graph, array.shape), array)

    backends = ("onnxruntime", *(("openvino",) if is_installed() else ()))
    makers: dict[str, Callable[[], Call]] = {}
    for backend in backends:
        makers[f"ours, {backend}"] = functools.partial(ours, backend)
        if precision == "int8":
            makers[f"ours, {backend}{_ALL_INT8}"] = functools.partial(ours, backend, keep_fp="none")
    makers |= {f"ours, {backend}{_FROM_JPEG}": functools.partial(ours, backend, whole=True) for backend in backends}
    if precision == "int8":
        return makers | {
            FP32_TOO: lambda: ours("onnxruntime", "fp32"),
            "ONNX Runtime quantize_static": lambda: onnxruntime(baselines.quantized_onnx(plain(), rows)),
            "OpenVINO + NNCF": lambda: openvino(baselines.quantized_openvino(plain(), rows)),
        }
    makers |= {
        PLAIN: lambda: onnxruntime(plain()),
        "OpenVINO": lambda: openvino(plain()),
        "torch eager": lambda: baselines.inferring(baselines.torch_model(variant), array),
        EAGER_FROM_JPEG: lambda: baselines.eager_from_jpeg(variant, contents[:batch], size_hw),
    }
    if variant in config.compiled:
        makers["torch.compile"] = lambda: baselines.inferring(baselines.compiled(variant), array)
    return makers
