"""The goals of this project for speed and memory, and the worst case of each, computed from the records."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from comparison import cold_start, memory, streams, throughput
from comparison.interleave import ratio
from comparison.suite import Records
from comparison.table import Table


@dataclass
class Goal:
    """One goal.

    Attributes:
        wanted: bound, a lower one unless `at_most`.
        digits: decimals of the figures.
        found: every value and its row.
    """

    text: str
    wanted: float
    at_most: bool = False
    unit: str = ""
    digits: int = 2
    found: list[tuple[float, str]] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """Return the goal's row of the table."""
        bound = f"{'at most' if self.at_most else 'at least'} {self.wanted:.{self.digits}f}{self.unit}"
        if not self.found:
            return (self.text, bound, "not measured", "-", "-", "-")
        worst, row = (max if self.at_most else min)(self.found)
        achieved = [
            value for value, _ in self.found if (value <= self.wanted if self.at_most else value >= self.wanted)
        ]
        share = f"{len(achieved)} of {len(self.found)}"
        result = "yes" if len(achieved) == len(self.found) else "no"
        return (self.text, bound, f"{worst:.{self.digits}f}{self.unit}", result, share, row)


def table(records: Mapping[str, Records]) -> Table:
    """Tabulate the worst case of each goal; records of failed groups are left out."""
    head = ("goal", "wanted", "worst", "achieved", "rows that achieve it", "worst row")
    lines = Table("Worst case over the table", head)
    found = [
        *_of_throughput(records["throughput"]),
        *_of_streams(records["streams"]),
        _masks(records["segmentation"]),
        *_of_start(records["cold_start"]),
        *_of_memory(records["memory"]),
    ]
    lines.rows += [goal.cells() for goal in found]
    return lines


def _of_throughput(records: Records) -> list[Goal]:
    fastest = Goal("engine only: the fastest baseline / ours, same precision", 1.0)
    whole_int8 = Goal("engine only, INT8 with --keep-fp none: the fastest baseline / ours", 1.0)
    plain = Goal("engine only: plain ONNX Runtime script / ours, FP32, batch 1", 1.15)
    gains = {
        "openvino": Goal("INT8 over our FP32, OpenVINO", 2.5),
        "onnxruntime": Goal("INT8 over our FP32, ONNX Runtime", 1.8),
    }
    whole = Goal("from JPEG bytes: torch eager / ours", 1.5)
    equal = Goal("labels as the plain script's, FP32", 99.9, unit=" %")
    for key, record in records.items():
        times, row = record["times"], " ".join(key)
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


def _of_streams(records: Records) -> list[Goal]:
    streamed = Goal("streaming: time over the fastest engine alone", 1.10, at_most=True)
    command = Goal("folder of 200 with hrnet-predict: time over the fastest engine alone", 1.15, at_most=True)
    for key, record in records.items():
        times, row = record["times"], " ".join(key)
        alone = times[streams.engine(times)]
        streamed.found += [(ratio(times[way], alone), f"{row}: {way}") for way in streams.STREAMED]
        command.found.append((ratio(times[streams.COMMAND], alone), row))
    return [streamed, command]


def _masks(records: Records) -> Goal:
    found = [(100 * record["equal"], " ".join(key)) for key, record in records.items()]
    return Goal("segmentation: equal pixels, short path and plain one", 99.9, unit=" %", digits=3, found=found)


def _of_start(records: Records) -> list[Goal]:
    found = []
    for step in (cold_start.IMPORT, cold_start.WITH_PREDICTOR):
        goal = Goal(step, 150, at_most=True, unit=" ms", digits=0)
        ours = {key: record for key, record in records.items() if step in record["ms"]}
        goal.found += [(statistics.median(record["ms"][step]), " ".join(key)) for key, record in ours.items()]
        found.append(goal)
    heavy = Goal("modules of torch, onnx and tensorrt loaded by both", 0, at_most=True, digits=0)
    heavy.found += [(len(r["heavy"]), " ".join(key)) for key, r in records.items() if cold_start.IMPORT in r["ms"]]
    return [*found, heavy]


def _of_memory(records: Records) -> list[Goal]:
    wide = Goal("export of w64: peak memory", 4096, at_most=True, unit=" MiB", digits=0)
    here_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    street = Goal(
        "seg w48 at 1024x2048 predicts: peak memory, this machine's", here_mib, at_most=True, unit=" MiB", digits=0
    )
    for key, record in records.items():
        if key[0] == "hrnet_w64" and key[2] == memory.EXPORT:
            wide.found.append((record["mib"], " ".join(key)))
        if key[0] == "hrnetv2_w48" and key[2] == memory.PREDICT:
            street.found.append((record["mib"], " ".join(key)))
    return [wide, street]
