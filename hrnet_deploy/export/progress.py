"""Progress of an export on the terminal."""

from __future__ import annotations

from typing import Any

from hrnet_deploy.system.progress import bar

STEPS = ("loading", "running the original", "tracing", "setting the precision", "verifying", "building")


class ExportProgress:
    """A progress bar over `STEPS`; a call shows that a step begins."""

    def __enter__(self) -> ExportProgress:
        layout = "{desc:<22} {bar:20} {n_fmt}/{total_fmt} [{elapsed}]"
        self._bar: Any = bar(total=len(STEPS), bar_format=layout)
        return self

    def __call__(self, name: str) -> None:
        """Show that a step begins."""
        self._bar.n = STEPS.index(name)
        self._bar.set_description_str(name)

    def __exit__(self, *_: object) -> None:
        self._bar.close()
