"""The part of a machine's cores that one of several workers uses."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.system.cores import cores


@dataclass(frozen=True)
class CpuShare:
    """The part of a machine's cores that one worker may use.

    Attributes:
        workers: workers on the machine, which share its cores; None where their number is unknown.
        threads: number of threads that an engine reserves; None to divide the cores.
    """

    workers: int | None = None
    threads: int | None = None

    def count(self) -> int:
        """Count the threads of one worker on this machine; one where nothing is known."""
        if self.threads is not None:
            return self.threads
        return 1 if self.workers is None else max(1, cores() // self.workers)
