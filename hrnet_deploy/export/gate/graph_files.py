"""Graphs of the accuracy gate as files, for workers that run in other processes or on other machines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.artifact.files import unfinished
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.spec import ModelCard


@dataclass
class GraphFiles:
    """A folder of graphs that are deleted with it."""

    folder: Path
    _written: list[Path] = field(default_factory=list)

    def write(self, graph: onnx.ModelProto, card: ModelCard) -> Path:
        """Write a graph as an artifact; the graph itself stays as it is."""
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        path = self.folder / f"{len(self._written)}.onnx"
        onnx_file.write(copy, path, card_metadata(card))
        self._written.append(path)
        return path


@contextlib.contextmanager
def graph_files(output: Path) -> Iterator[GraphFiles]:
    """Create a folder beside the output, which all workers must see, and delete it at the end."""
    with unfinished(output) as folder:
        yield GraphFiles(folder)
