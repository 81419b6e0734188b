"""What was aimed at, and the worst that was measured; all of it computed from the records."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from contest import memory, nets, start, streams
from contest.section import Records
from contest.table import Table
from contest.turns import ratio


@dataclass
class Target:
    """One aim.

    Attributes:
        text: what it asks for.
        wanted: bound.
        at_most: the bound is one from above.
        unit: behind the figures.
        digits: behind the point.
        found: every value and the row it is of.
    """

    text: str
    wanted: float
    at_most: bool = False
    unit: str = ""
    digits: int = 2
    found: list[tuple[float, str]] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        bound = f"{'at most' if self.at_most else 'at least'} {self.wanted:.{self.digits}f}{self.unit}"
        if not self.found:
            return (self.text, bound, "not measured", "-", "-", "-")
        worst, row = (max if self.at_most else min)(self.found)
        reached = [value for value, _ in self.found if (value <= self.wanted if self.at_most else value >= self.wanted)]
        share = f"{len(reached)} of {len(self.found)}"
        answer = "yes" if len(reached) == len(self.found) else "no"
        return (self.text, bound, f"{worst:.{self.digits}f}{self.unit}", answer, share, row)


def table(records: Mapping[str, Records]) -> Table:
    """The worst case of each target.

    Args:
        records: of each section, without those that failed.

    Returns:
        A line a target.
    """
    head = ("target", "wanted", "worst", "reached", "rows that reach it", "worst row")
    lines = Table("Worst case over the table", head)
    found = [
        *_of_nets(records["nets"]),
        *_of_streams(records["streams"]),
        _masks(records["segmentation"]),
        *_of_start(records["start"]),
        *_of_memory(records["memory"]),
    ]
    lines.rows += [target.cells() for target in found]
    return lines


def _of_nets(records: Records) -> list[Target]:
    fastest = Target("engine only: the fastest peer / ours, same precision", 1.0)
    whole_int8 = Target("engine only, INT8 with --keep-fp none: the fastest peer / ours", 1.0)
    plain = Target("engine only: plain ONNX Runtime script / ours, FP32, batch 1", 1.15)
    gains = {
        "openvino": Target("INT8 over our FP32, OpenVINO", 2.5),
        "onnxruntime": Target("INT8 over our FP32, ONNX Runtime", 1.8),
    }
    whole = Target("from JPEG bytes: torch eager / ours", 1.5)
    alike = Target("labels as the plain script's, FP32", 99.9, unit=" %")
    for key, record in records.items():
        times, row = record["times"], " ".join(key)
        ours, ours_whole = nets.engine(times), nets.from_jpeg(times)
        if ours is None:
            continue
        for target, engine in ((fastest, ours), (whole_int8, nets.all_int8(times))):
            theirs = [] if engine is None else nets.peers_of(times)
            target.found += sorted((ratio(times[n], times[engine]), f"{row}: {n} / {engine}") for n in theirs)[:1]
        if nets.PLAIN in times and key[2] == "batch-1":
            plain.found.append((ratio(times[nets.PLAIN], times[ours]), f"{row}: {ours}"))
        for backend, gain in nets.int8_gains(times).items():
            gains[backend].found.append((gain, row))
        if nets.EAGER_FROM_JPEG in times and ours_whole is not None:
            whole.found.append((ratio(times[nets.EAGER_FROM_JPEG], times[ours_whole]), f"{row}: {ours_whole}"))
        if "alike" in record:
            alike.found.append((100 * record["alike"], row))
    return [fastest, whole_int8, plain, *gains.values(), whole, alike]


def _of_streams(records: Records) -> list[Target]:
    streamed = Target("streaming: time over the fastest engine alone", 1.10, at_most=True)
    command = Target("folder of 200 with hrnet-predict: time over the fastest engine alone", 1.15, at_most=True)
    for key, record in records.items():
        times, row = record["times"], " ".join(key)
        alone = times[streams.engine(times)]
        streamed.found += [(ratio(times[way], alone), f"{row}: {way}") for way in streams.STREAMED]
        command.found.append((ratio(times[streams.COMMAND], alone), row))
    return [streamed, command]


def _masks(records: Records) -> Target:
    found = [(100 * record["alike"], " ".join(key)) for key, record in records.items()]
    return Target("segmentation: pixels alike, short path and plain one", 99.9, unit=" %", digits=3, found=found)


def _of_start(records: Records) -> list[Target]:
    found = []
    for step in (start.IMPORT, start.WITH_PREDICTOR):
        target = Target(step, 150, at_most=True, unit=" ms", digits=0)
        ours = {key: record for key, record in records.items() if step in record["ms"]}
        target.found += [(statistics.median(record["ms"][step]), " ".join(key)) for key, record in ours.items()]
        found.append(target)
    heavy = Target("modules of torch, onnx and tensorrt loaded by both", 0, at_most=True, digits=0)
    heavy.found += [(len(r["heavy"]), " ".join(key)) for key, r in records.items() if start.IMPORT in r["ms"]]
    return [*found, heavy]


def _of_memory(records: Records) -> list[Target]:
    wide = Target("export of w64: peak memory", 4096, at_most=True, unit=" MiB", digits=0)
    here_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    street = Target(
        "seg w48 at 1024x2048 predicts: peak memory, this machine's", here_mib, at_most=True, unit=" MiB", digits=0
    )
    for key, record in records.items():
        if key[0] == "hrnet_w64" and key[2] == memory.EXPORT:
            wide.found.append((record["mib"], " ".join(key)))
        if key[0] == "hrnetv2_w48" and key[2] == memory.PREDICT:
            street.found.append((record["mib"], " ".join(key)))
    return [wide, street]
