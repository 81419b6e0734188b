"""A benchmark from start to end: open, warm up, measure in turns, and note the circumstances."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from hrnet_deploy.benchmark.published_latency import published_for
from hrnet_deploy.benchmark.result import Artefact, Benchmark, Row, Scope, Skipped, StreamRow
from hrnet_deploy.benchmark.timed_model import Picture, Subject, check_room, read_picture
from hrnet_deploy.benchmark.timing import (
    LONGEST_WARM_UP_S,
    Call,
    Latency,
    Throughput,
    measure_throughput,
    time_interleaved,
    warm_up,
)
from hrnet_deploy.errors import UsageError
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.system import load_snapshot

MAX_BATCH = 1024
MAX_STREAMS = 64
_ROUNDS = 2
_INPUT_LIMIT_BYTES = 4 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        batches: images per inference, each 1 to 1024.
        threads: CPU threads for one inference; None for all cores.
        streams: inferences side by side, in as many streams on a CPU, 1 to 64; 1 leaves that measurement out.
        device: "cpu", "cuda", "cuda:N" or "auto".
        backend: as for Predictor.
        image: picture to answer; None for made ones.
        seconds: to spend on each artefact, batch and figure, above 0.
        reference: put published figures beside ours.
    """

    batches: tuple[int, ...] = (1, 4, 8)
    threads: int | None = None
    streams: int = 1
    device: str = "auto"
    backend: str = "auto"
    image: Path | None = None
    seconds: float = 2.0
    reference: bool = False

    def __post_init__(self) -> None:
        if not self.batches or not all(1 <= batch <= MAX_BATCH for batch in self.batches):
            raise UsageError(f"batch must be 1 to {MAX_BATCH}, got {self.batches}. Example: --batch 1,4,8.")
        if not 1 <= self.streams <= MAX_STREAMS:
            raise UsageError(f"streams must be 1 to {MAX_STREAMS}, got {self.streams}. Example: --streams 4.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, got {self.threads}. Leave it out for all cores.")
        if not 0 < self.seconds <= 3600:
            raise UsageError(f"seconds must be above 0 and at most 3600, got {self.seconds}. The default is 2.")


def benchmark(
    paths: Sequence[Path], settings: Settings | None = None, *, step: Callable[[str], None] = lambda _: None
) -> Benchmark:
    """Measure artefacts side by side.

    Args:
        paths: .onnx or .engine files made by hrnet-export; the first is what the others are compared with.
        settings: how; None for the defaults.
        step: told what is measured next.

    Returns:
        What was found.

    Raises:
        UsageError: no artefact, no batch size that any of them takes, or one too large for the memory.
        HrnetDeployError: whatever opening and running them raise.
    """
    settings = settings or Settings()
    if not paths:
        raise UsageError("a benchmark needs an artefact, got none. Example: hrnet-bench w18.onnx")
    before = load_snapshot.take_snapshot()
    picture = None if settings.image is None else read_picture(settings.image)
    with ExitStack() as stack:
        subjects = []
        for path in paths:
            step(f"opening {path.name}")
            subjects.append(_opened(stack, path, settings, picture))
        plan, skipped = plan_batches(subjects, settings.batches)
        rows: list[Row] = []
        for figure in (figure for figure in Scope if figure is not Scope.COPIES or any(s.on_gpu for s in subjects)):
            for batch, members in plan.items():
                step(f"{figure.value.replace('_', ' ')}, batch {batch}")
                rows += _measured(subjects, members, batch, figure, settings, singly=before.processor.busy)
        streams: list[StreamRow] = []
        if settings.streams > 1:
            streamed = [_opened(stack, path, settings, picture, streams=settings.streams) for path in paths]
            for batch, members in plan.items():
                step(f"{settings.streams} streams, batch {batch}")
                streams += _streamed(subjects, streamed, members, batch, settings)
        artefacts = tuple(map(_artefact, subjects))
    after = load_snapshot.take_snapshot()
    found = [f for s in subjects for batch in plan for f in published_for(s.card.variant, batch, s.input_hw)]
    return Benchmark(
        artefacts=artefacts,
        rows=tuple(rows),
        streams=tuple(streams),
        skipped=tuple(skipped),
        threads=settings.threads,
        seconds=settings.seconds,
        before=before,
        after=after,
        published=tuple(dict.fromkeys(found)) if settings.reference else None,
        warnings=tuple(load_snapshot.warnings(before, after) + _restless(rows, artefacts)),
    )


def plan_batches(
    subjects: Sequence[Subject], batches: Sequence[int]
) -> tuple[dict[int, tuple[int, ...]], list[Skipped]]:
    """Which artefacts are measured at which batch size.

    Args:
        subjects: the artefacts; one with a fixed batch is measured at that, asked for or not.
        batches: asked for.

    Returns:
        Indices of the artefacts by batch size, smallest first, and what is left out.

    Raises:
        UsageError: nothing is left.
    """
    fixed = {s.fixed_batch for s in subjects if s.fixed_batch is not None}
    plan: dict[int, tuple[int, ...]] = {}
    skipped = []
    for batch in sorted({*batches, *fixed}):
        members = []
        for index, subject in enumerate(subjects):
            reason = subject.refusal(batch)
            if reason is None and (batch in batches or subject.fixed_batch == batch):
                check_room(subject, batch, _INPUT_LIMIT_BYTES)
                members.append(index)
            elif batch in batches:
                skipped.append(Skipped(index, batch, str(reason)))
        if members:
            plan[batch] = tuple(members)
    if not plan:
        refused = "; ".join(f"{subjects[one.artefact].name} {one.reason}" for one in skipped[: len(subjects)])
        raise UsageError(f"batch must be one an artefact takes, got {', '.join(map(str, batches))}: {refused}.")
    return plan, skipped


def _opened(stack: ExitStack, path: Path, settings: Settings, picture: Picture | None, streams: int = 1) -> Subject:
    predictor = Predictor(
        path, device=settings.device, backend=settings.backend, threads=settings.threads, streams=streams
    )
    return Subject(path, stack.enter_context(predictor), picture)


def _call(subject: Subject, batch: int, figure: Scope) -> Call:
    make = {
        Scope.ENGINE: subject.engine_call,
        Scope.COPIES: subject.copying_call,
        Scope.WHOLE: subject.whole_call,
    }[figure]
    return make(batch)


def _measured(
    subjects: Sequence[Subject], members: Sequence[int], batch: int, figure: Scope, settings: Settings, *, singly: bool
) -> list[Row]:
    if figure is Scope.COPIES:
        members = [index for index in members if subjects[index].on_gpu]
    calls = [_call(subjects[index], batch, figure) for index in members]
    warm = [warm_up(call, limit_s=min(LONGEST_WARM_UP_S, 2 * settings.seconds)) for call in calls]
    times = time_interleaved(calls, seconds=settings.seconds, warm=warm, singly=singly)
    latencies = [Latency.of(found) for found in times]
    first = latencies[0].median_ms if members and members[0] == 0 else None
    return [
        Row(
            artefact=index,
            batch=batch,
            figure=figure,
            latency=latency,
            warm_up=state,
            speed_up=None if first is None else first / latency.median_ms,
        )
        for index, latency, state in zip(members, latencies, warm, strict=True)
    ]


def _streamed(
    subjects: Sequence[Subject], streamed: Sequence[Subject], members: Sequence[int], batch: int, settings: Settings
) -> list[StreamRow]:
    """One call after the other and several in streams, in turns over the artefacts; the better of two rounds each."""
    part = settings.seconds / _ROUNDS
    crews = {
        (index, count): [subject.copying_call(batch) for _ in range(count)]
        for index in members
        for subject, count in ((subjects[index], 1), (streamed[index], settings.streams))
    }
    for calls in crews.values():
        measure_throughput(calls, seconds=part / 4)  # the first run of a thread allocates its buffers
    best: dict[tuple[int, int], Throughput] = {}
    for _, (key, calls) in itertools.product(range(_ROUNDS), crews.items()):
        reached = measure_throughput(calls, seconds=part)
        if key not in best or reached.runs_per_second > best[key].runs_per_second:
            best[key] = reached
    return [
        StreamRow(artefact=index, batch=batch, flow=best[index, settings.streams], single=best[index, 1])
        for index in members
    ]


def _artefact(subject: Subject) -> Artefact:
    return Artefact(
        name=subject.name,
        path=str(subject.path),
        sha256=subject.sha256,
        size_bytes=subject.size_bytes,
        variant=subject.card.variant,
        precision=subject.card.precision,
        input_hw=subject.input_hw,
        device=subject.predictor.device,
        backend=subject.predictor.backend,
        arithmetic=subject.predictor.arithmetic,
        picture=subject.picture.name,
    )


def _restless(rows: Sequence[Row], artefacts: Sequence[Artefact]) -> list[str]:
    """Which calls never settled."""
    shaky = dict.fromkeys(artefacts[row.artefact].name for row in rows if not row.warm_up.stable)
    return [f"run times of {name} had not settled when measuring began; give --seconds more" for name in shaky]
