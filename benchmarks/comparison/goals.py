"""The goals of this project for speed and memory, and the worst case of each, computed from the records."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from comparison import cold_start, memory, streams, throughput
from comparison.config import Key, Record, Records
from comparison.interleave import ratio
from comparison.table import Table

_Rows = list[tuple[str, Key, Record]]


@dataclass
class Goal:
    """One goal: a bound, a lower one unless `at_most`, and every value with its row."""

    text: str
    wanted: float
    found: list[tuple[float, str]] = field(default_factory=list)
    at_most: bool = False
    unit: str = ""
    digits: int = 2

    def cells(self) -> tuple[str, ...]:
        """Return the goal's row of the table."""
        bound = f"{'at most' if self.at_most else 'at least'} {self.wanted:.{self.digits}f}{self.unit}"
        if not self.found:
            return (self.text, bound, "not measured", "-", "-", "-")
        worst, row = (max if self.at_most else min)(self.found)
        within = [value <= self.wanted if self.at_most else value >= self.wanted for value, _ in self.found]
        share = f"{sum(within)} of {len(within)}"
        return (self.text, bound, f"{worst:.{self.digits}f}{self.unit}", "yes" if all(within) else "no", share, row)


def table(records: Mapping[str, Records]) -> Table:
    """Tabulate the worst case of each goal; records of failed groups are left out."""
    head = ("goal", "wanted", "worst", "achieved", "rows that achieve it", "worst row")
    rows = {name: [(" ".join(key), key, record) for key, record in found.items()] for name, found in records.items()}
    goals = _of_throughput(rows["throughput"]) + _of_streams(rows["streams"])
    masks = [(100 * record["equal"], row) for row, _, record in rows["segmentation"]]
    goals.append(Goal("segmentation: equal pixels, short path and plain one", 99.9, masks, unit=" %", digits=3))
    goals += _of_start(rows["cold_start"]) + _of_memory(rows["memory"])
    return Table("Worst case over the table", head, [goal.cells() for goal in goals])


def _of_throughput(rows: _Rows) -> list[Goal]:
    fastest = Goal("engine only: the fastest baseline / ours, same precision", 1.0)
    whole_int8 = Goal("engine only, INT8 with --keep-fp none: the fastest baseline / ours", 1.0)
    plain = Goal("engine only: plain ONNX Runtime script / ours, FP32, batch 1", 1.15)
    gains = {
        "openvino": Goal("INT8 over our FP32, OpenVINO", 2.5),
        "onnxruntime": Goal("INT8 over our FP32, ONNX Runtime", 1.8),
    }
    whole = Goal("from JPEG bytes: torch eager / ours", 1.5)
    equal = Goal("labels as the plain script's, FP32", 99.9, unit=" %")
    for row, key, record in rows:
        times = record["times"]
        ours, ours_whole = throughput.engine(times), throughput.from_jpeg(times)
        if ours is None:
            continue
        for goal, engine in ((fastest, ours), (whole_int8, throughput.all_int8(times))):
            theirs = [] if engine is None else throughput.baselines_of(times)
            goal.found += sorted((ratio(times[n], times[engine]), f"{row}: {n} / {engine}") for n in theirs)[:1]
        if throughput.PLAIN in times and key[2] == "batch-1":
            plain.found.append((ratio(times[throughput.PLAIN], times[ours]), f"{row}: {ours}"))
        for backend, gain in throughput.int8_gains(times).items():
            gains[backend].found.append((gain, row))
        if throughput.EAGER_FROM_JPEG in times and ours_whole is not None:
            whole.found.append((ratio(times[throughput.EAGER_FROM_JPEG], times[ours_whole]), f"{row}: {ours_whole}"))
        if "equal" in record:
            equal.found.append((100 * record["equal"], row))
    return [fastest, whole_int8, plain, *gains.values(), whole, equal]


def _of_streams(rows: _Rows) -> list[Goal]:
    streamed = Goal("streaming: time over the fastest engine alone", 1.10, at_most=True)
    command = Goal("folder of 200 with hrnet-predict: time over the fastest engine alone", 1.15, at_most=True)
    for row, _, record in rows:
        times = record["times"]
        alone = times[streams.engine(times)]
        streamed.found += [(ratio(times[way], alone), f"{row}: {way}") for way in streams.STREAMED]
        command.found.append((ratio(times[streams.COMMAND], alone), row))
    return [streamed, command]


def _of_start(rows: _Rows) -> list[Goal]:
    ours = [(row, record) for row, _, record in rows if cold_start.IMPORT in record["ms"]]
    goals = []
    for step in (cold_start.IMPORT, cold_start.WITH_PREDICTOR):
        found = [(statistics.median(record["ms"][step]), row) for row, record in ours]
        goals.append(Goal(step, 150, found, at_most=True, unit=" ms", digits=0))
    heavy = [(float(len(record["heavy"])), row) for row, record in ours]
    return [*goals, Goal("modules of torch, onnx and tensorrt loaded by both", 0, heavy, at_most=True, digits=0)]


def _of_memory(rows: _Rows) -> list[Goal]:
    here_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    goals = []
    for model, command, text, wanted in (
        ("hrnet_w64", memory.EXPORT, "export of w64: peak memory", 4096.0),
        ("hrnetv2_w48", memory.PREDICT, "seg w48 at 1024x2048 predicts: peak memory, this machine's", here_mib),
    ):
        found = [(record["mib"], row) for row, key, record in rows if (key[0], key[2]) == (model, command)]
        goals.append(Goal(text, wanted, found, at_most=True, unit=" MiB", digits=0))
    return goals
