"""A complete benchmark: open the artifacts, warm up, measure them interleaved, and record the conditions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from hrnet_deploy.benchmark.published_latency import published_for
from hrnet_deploy.benchmark.result import ArtifactInfo, Benchmark, Row, Scope, Skipped, StreamRow
from hrnet_deploy.benchmark.timed_model import TimedModel, read_image
from hrnet_deploy.benchmark.timing import (
    LONGEST_WARM_UP_S,
    Latency,
    Throughput,
    measure_throughput,
    time_interleaved,
    warm_up,
)
from hrnet_deploy.engines.remote.remote_model import RemoteModel, runtime_of
from hrnet_deploy.engines.streams import check_threads
from hrnet_deploy.errors import UsageError
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.system import load_snapshot

MAX_BATCH = 1024
MAX_STREAMS = 64
_ROUNDS = 2
_INPUT_LIMIT_BYTES = 4 << 30
_CALLS = {
    Scope.ENGINE: TimedModel.engine_call,
    Scope.COPIES: TimedModel.copying_call,
    Scope.WHOLE: TimedModel.whole_call,
}
BatchPlan = Mapping[int, tuple[int, ...]]
"""Indices of the artifacts by batch size, smallest first."""
Step = Callable[[str], None]
"""Receives the name of the next measurement."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a benchmark.

    Attributes:
        batches: images per inference, each 1 to 1024.
        threads: CPU threads for one inference; None for all cores.
        streams: inferences side by side, 1 to 64; 1 skips that measurement.
        image: input image; None for a generated one.
        seconds: for each artifact, batch and scope, above 0.
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
        check_threads(self.threads)
        if not 0 < self.seconds <= 3600:
            raise UsageError(f"seconds must be above 0 and at most 3600, got {self.seconds}. The default is 2.")


def benchmark(
    paths: Sequence[Path | RemoteModel], settings: Settings | None = None, *, step: Step = lambda _: None
) -> Benchmark:
    """Measure artifacts side by side.

    Args:
        paths: .onnx or .engine files created by hrnet-export, or models on V2 servers; the first is the reference of
            the speed-ups.
        settings: None for the defaults.
        step: called with the name of the next measurement.

    Returns:
        The result.

    Raises:
        UsageError: no artifact, no batch size that any of them takes, or one too large for the memory.
        HrnetDeployError: whatever opening and running them raise.
    """
    settings = settings or Settings()
    if not paths:
        raise UsageError("a benchmark needs an artifact, got none. Example: hrnet-bench w18.onnx")
    before = load_snapshot.take_snapshot()
    with ExitStack() as stack:
        models = _open(stack, paths, settings, step)
        plan, skipped = plan_batches(models, settings.batches)
        rows: list[Row] = []
        for scope, (batch, members) in itertools.product(Scope, plan.items()):
            if scope is not Scope.COPIES or any(model.on_gpu for model in models):
                step(f"{scope.value.replace('_', ' ')}, batch {batch}")
                rows += _measure(models, members, batch, scope, settings, busy=before.processor.busy)
        streams = []
        if settings.streams > 1:
            shared = _open(stack, paths, settings, step, streams=settings.streams)
            streams = _measure_streams(models, shared, plan, settings, step)
        artifacts = tuple(map(_info, models))
    after = load_snapshot.take_snapshot()
    published = [p for m in models for batch in plan for p in published_for(m.card.variant, batch, m.input_hw)]
    return Benchmark(
        artifacts=artifacts,
        rows=tuple(rows),
        streams=tuple(streams),
        skipped=tuple(skipped),
        threads=settings.threads,
        seconds=settings.seconds,
        before=before,
        after=after,
        published=tuple(dict.fromkeys(published)) if settings.reference else None,
        warnings=tuple(load_snapshot.warnings(before, after) + _unstable(rows, artifacts)),
    )


def plan_batches(models: Sequence[TimedModel], batches: Sequence[int]) -> tuple[BatchPlan, list[Skipped]]:
    """Assign artifacts to batch sizes, also to a fixed one that was not requested; return what is left out too."""
    fixed = {model.fixed_batch for model in models if model.fixed_batch is not None}
    plan: dict[int, tuple[int, ...]] = {}
    skipped = []
    for batch in sorted({*batches, *fixed}):
        members = []
        for index, model in enumerate(models):
            reason = model.why_unsupported(batch)
            if reason is None and (batch in batches or model.fixed_batch == batch):
                model.check_memory(batch, _INPUT_LIMIT_BYTES)
                members.append(index)
            elif batch in batches:
                skipped.append(Skipped(index, batch, str(reason)))
        if members:
            plan[batch] = tuple(members)
    if not plan:
        refused = "; ".join(f"{models[one.artifact].name} {one.reason}" for one in skipped[: len(models)])
        raise UsageError(f"batch must be one an artifact takes, got {', '.join(map(str, batches))}: {refused}.")
    return plan, skipped


def _open(
    stack: ExitStack, paths: Sequence[Path | RemoteModel], settings: Settings, step: Step, streams: int = 1
) -> list[TimedModel]:
    image = None if settings.image is None else read_image(settings.image)
    models = []
    for path in paths:
        step(f"opening {path.name if isinstance(path, Path) else path}")
        device, backend = runtime_of(path, paths, settings.device, settings.backend)
        predictor = Predictor(path, device=device, backend=backend, threads=settings.threads, streams=streams)
        models.append(TimedModel(path, stack.enter_context(predictor), image))
    return models


def _measure(
    models: Sequence[TimedModel], members: Sequence[int], batch: int, scope: Scope, settings: Settings, *, busy: bool
) -> list[Row]:
    """Time the members of one batch size in one scope, interleaved; on a busy machine in single calls."""
    if scope is Scope.COPIES:
        members = [index for index in members if models[index].on_gpu]
    calls = [_CALLS[scope](models[index], batch) for index in members]
    warm_ups = [warm_up(call, limit_s=min(LONGEST_WARM_UP_S, 2 * settings.seconds)) for call in calls]
    times = time_interleaved(calls, seconds=settings.seconds, warm_ups=warm_ups, single_calls=busy)
    rows: list[Row] = []
    for index, samples, state in zip(members, times, warm_ups, strict=True):
        latency = Latency.of(samples)
        first = rows[0].latency if rows else latency
        gain = first.median_ms / latency.median_ms if members[0] == 0 else None
        rows.append(Row(artifact=index, batch=batch, scope=scope, latency=latency, warm_up=state, speed_up=gain))
    return rows


def _measure_streams(
    models: Sequence[TimedModel], shared: Sequence[TimedModel], plan: BatchPlan, settings: Settings, step: Step
) -> list[StreamRow]:
    """Measure the throughput of one and of several threads, interleaved; the better of two rounds each."""
    part = settings.seconds / _ROUNDS
    rows = []
    for batch, members in plan.items():
        step(f"{settings.streams} streams, batch {batch}")
        calls = {
            (index, count): [model.copying_call(batch) for _ in range(count)]
            for index in members
            for model, count in ((models[index], 1), (shared[index], settings.streams))
        }
        for own in calls.values():
            measure_throughput(own, seconds=part / 4)  # the first run of a thread allocates its buffers
        found: dict[tuple[int, int], list[Throughput]] = {key: [] for key in calls}
        for _, (key, own) in itertools.product(range(_ROUNDS), calls.items()):
            found[key].append(measure_throughput(own, seconds=part))
        best = {key: max(rounds, key=lambda each: each.runs_per_second) for key, rounds in found.items()}
        for index in members:
            several, single = best[index, settings.streams], best[index, 1]
            rows.append(StreamRow(artifact=index, batch=batch, throughput=several, single=single))
    return rows


def _info(model: TimedModel) -> ArtifactInfo:
    return ArtifactInfo(
        name=model.name,
        path=str(model.artifact),
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        variant=model.card.variant,
        precision=model.card.precision,
        input_hw=model.input_hw,
        device=model.predictor.device,
        backend=model.predictor.backend,
        arithmetic=model.predictor.arithmetic,
        image=model.image.name,
    )


def _unstable(rows: Sequence[Row], artifacts: Sequence[ArtifactInfo]) -> list[str]:
    """Return a warning for each artifact whose run times did not settle."""
    names = dict.fromkeys(artifacts[row.artifact].name for row in rows if not row.warm_up.stable)
    return [f"run times of {name} had not settled when measuring began; give --seconds more" for name in names]
