"""Pools of spawned processes."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

from hrnet_deploy.executors.cpu_share import CpuShare
from hrnet_deploy.system import native_stderr


class _Process(multiprocessing.context.SpawnProcess):
    """A process that starts with Ctrl-C blocked: it would show a traceback until `_start_process` has run."""

    def start(self) -> None:
        """Start; the new process inherits the blocked signals of this thread, and they stay blocked in it."""
        if not hasattr(signal, "pthread_sigmask"):
            super().start()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(multiprocessing.context.SpawnContext):
    """Starts such processes."""

    Process = _Process


@contextlib.contextmanager
def open_processes(count: str, _: int | None) -> Iterator[Executor]:
    """Open a pool of spawned processes, which inherit no locks of runtimes as forked ones do."""
    context = _Context()
    records = context.Queue()
    records.cancel_join_thread()
    listener = logging.handlers.QueueListener(records, _Repeat())
    arguments = (int(count), native_stderr.is_captured(), records, logging.getLogger().getEffectiveLevel())
    pool = ProcessPoolExecutor(int(count), mp_context=context, initializer=_start_process, initargs=arguments)
    listener.start()
    is_sound = True
    try:
        yield pool
    except BaseException:  # Ctrl-C and errors need not wait for chunks, which may take minutes
        is_sound = False
        for process in list((pool._processes or {}).values()):  # noqa: SLF001 - terminate_workers() since Python 3.14
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if is_sound:  # a process that was ended while it wrote keeps the lock of the queue
            listener.stop()


class _Repeat(logging.Handler):
    """Gives records of other processes to the loggers of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record under its own name."""
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


def _start_process(
    workers: int,
    is_captured: bool,  # noqa: FBT001 - an argument of a pool's initializer
    records: Any,
    level: int,
) -> None:
    """Leave Ctrl-C to the driver, which ends the pool, and limit the threads of libraries that load later.

    A process ends with a driver that is killed; else it would wait for work for ever. Its log is that of the driver.
    """
    logging.getLogger().addHandler(logging.handlers.QueueHandler(records))
    logging.getLogger().setLevel(level)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    if is_captured:  # damaged images are found in the process that decodes them
        native_stderr.capture()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(CpuShare(workers).count()))


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
