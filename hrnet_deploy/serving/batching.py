"""Batches of what is waiting: one thread for each stream of the engine runs them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.batch_buffer import BatchBuffer
from hrnet_deploy.protocols import Tensors

_LOG = logging.getLogger(__name__)
_BATCH_VALUES = 8 * 3 * 512 * 1024
"""Values of a batch beyond which another image only costs memory: a large one keeps all cores busy by itself."""


class AbandonedError(Exception):
    """A job was not run, because no client waits for it."""


class Ticket:
    """One request, which its client may give up.

    Attributes:
        abandoned: the client is gone or its time is over: nothing more is computed.
    """

    def __init__(self) -> None:
        self.abandoned = False


@dataclass(frozen=True)
class Computed:
    """Outputs of a batch, and where a job's rows are in them.

    Attributes:
        share_ms: time of the inference for each row, in milliseconds.
    """

    outputs: Tensors
    first: int
    share_ms: float


@dataclass(frozen=True, eq=False)
class Job:
    """Rows that run in one batch.

    Attributes:
        done: receives the outputs, or the error; called in the thread of the stream.
    """

    rows: Sequence[NDArray[Any]]
    ticket: Ticket
    done: Callable[[Computed | Exception], None]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return self.rows[0].shape


class Batcher:
    """Runs jobs in batches of one shape, oldest first; it never waits for a batch to fill unless that is requested.

    A batch takes what is waiting, up to `max_batch` images, and leaves a share to each other stream that is free.
    """

    def __init__(
        self, predictor: Predictor, *, max_batch: int, wait_s: float, count_batch: Callable[[int], None]
    ) -> None:
        self._predictor = predictor
        self._buffer = BatchBuffer(predictor.card)
        self._max_batch = max_batch
        self._wait_s = wait_s
        self._count_batch = count_batch
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._free = predictor.streams
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"hrnet-serve-{index}", daemon=True)
            for index in range(predictor.streams)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Number of rows that wait."""
        return sum(len(job.rows) for job in list(self._waiting))

    def submit(self, job: Job, *, may_run: bool = False) -> None:
        """Add a job; its `done` is called once.

        With `may_run`, the caller's thread runs it at once where a stream is free and nothing waits, which saves the
        way to another thread.
        """
        with self._changed:
            runs = may_run and self._free > 0 and not self._waiting and self._wait_s == 0
            if runs:
                self._free -= 1
            else:
                self._waiting.append(job)
                self._changed.notify()
        if runs:
            self._run([job])
            self._free_stream()

    def close(self) -> None:
        """Finish what is waiting, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while jobs := self._take():
            self._run(jobs)
            self._free_stream()

    def _free_stream(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def _take(self) -> list[Job]:
        """Wait for the next batch and a free stream; empty at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: (self._waiting and self._free) or (self._closed and not self._waiting))
                self._wait_for_more()
                self._drop_abandoned()
                if self._waiting and self._free:
                    self._free -= 1
                    return self._group()
                if self._closed and not self._waiting:
                    return []

    def _drop_abandoned(self) -> None:
        """Finish the jobs that no client waits for."""
        for job in [job for job in self._waiting if job.ticket.abandoned]:
            self._waiting.remove(job)
            _finish(job, AbandonedError())

    def _wait_for_more(self) -> None:
        """Wait for a full batch, for the time that was requested."""
        if self._wait_s > 0:
            self._changed.wait_for(lambda: self._closed or self.waiting >= self._max_batch, self._wait_s)

    def _group(self) -> list[Job]:
        """Take the oldest job and others of its shape."""
        shape = self._waiting[0].shape
        group = [job for job in self._waiting if job.shape == shape]
        share = math.ceil(sum(len(job.rows) for job in group) / (self._free + 1))
        limit = min(self._max_batch, share, max(1, _BATCH_VALUES // math.prod(shape)))
        taken, size = [group[0]], len(group[0].rows)
        for job in group[1:]:
            if size + len(job.rows) > limit:
                break
            taken.append(job)
            size += len(job.rows)
        self._waiting = [job for job in self._waiting if job not in taken]
        if self._waiting:
            self._changed.notify()
        return taken

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        """Report an error; a batch that failed is run again job by job, because memory may suffice for one."""
        if len(jobs) == 1:
            _finish(jobs[0], error)
            return
        for job in jobs:
            self._run([job])

    def _run(self, jobs: list[Job]) -> None:
        """Infer, and hand over the outputs."""
        rows = [row for job in jobs for row in job.rows]
        began = time.perf_counter()
        try:
            outputs = self._predictor.infer(self._buffer.stack(rows))
        except Exception as error:  # noqa: BLE001 - handed to the requests
            self._fail(jobs, error)
            return
        share_ms = 1e3 * (time.perf_counter() - began) / len(rows)
        self._count_batch(len(rows))
        first = 0
        for job in jobs:
            _finish(job, Computed(outputs, first, share_ms))
            first += len(job.rows)


def _finish(job: Job, outcome: Computed | Exception) -> None:
    """Hand over a result; whatever happens there, the stream goes on."""
    try:
        job.done(outcome)
    except Exception:  # noqa: BLE001 - the stream goes on
        _LOG.exception("a result could not be handed over")
