"""A graph that is no file yet, or any net that is a function, where evaluation expects a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.evaluation import Model
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, Precision

if TYPE_CHECKING:
    import onnx

_MEMORY_BYTES = 1 << 30
"""Answers kept at most."""

Feed = Mapping[str, NDArray[np.generic]] | NDArray[np.generic]


class OnnxModel:
    """A graph on ONNX Runtime's CPU kernels.

    Attributes:
        card: what it would say of itself as a file.
        device: "cpu".
        backend: "onnxruntime".
        arithmetic: what the kernels compute in, such as "int8 and float32".
    """

    device = "cpu"
    backend = "onnxruntime"

    def __init__(self, graph: onnx.ModelProto, card: ModelCard) -> None:
        """Open the graph.

        Args:
            graph: not needed afterwards.
            card: with the graph's inputs and outputs.
        """
        self.card = card
        self._engine = open_engine(graph.SerializeToString(), device="cpu", backend="onnxruntime")
        self.arithmetic = "int8 and float32" if card.precision is Precision.INT8 else "float32"

    def infer(self, batch: Feed) -> Tensors:
        """Run it: {input name: array} to {output name: array}."""
        return self._engine.run(batch if isinstance(batch, Mapping) else {self.card.inputs[0].name: batch})


class CachedModel:
    """A model that does not compute again what it was asked before, as long as memory lasts.

    A reference meets the same images once per candidate.

    Attributes:
        card: the model's.
        device: the model's.
        backend: the model's.
        arithmetic: the model's.
    """

    def __init__(self, model: Model) -> None:
        """Know nothing yet.

        Args:
            model: gives every answer the first time.
        """
        self.card, self.device = model.card, model.device
        self.backend = str(getattr(model, "backend", ""))
        self.arithmetic = str(getattr(model, "arithmetic", ""))
        self._model = model
        self._known: dict[bytes, Tensors] = {}
        self._left_bytes = _MEMORY_BYTES

    def infer(self, batch: Feed) -> Tensors:
        """The model's answer: {input name: array} to {output name: array}."""
        (array,) = batch.values() if isinstance(batch, Mapping) else (batch,)
        key = hashlib.blake2b(np.ascontiguousarray(array).data, person=str(array.shape).encode()[:16]).digest()
        if key in self._known:
            return self._known[key]
        answer = {name: np.array(value) for name, value in self._model.infer(batch).items()}
        size_bytes = sum(value.nbytes for value in answer.values())
        if size_bytes <= self._left_bytes:
            self._known[key] = answer
            self._left_bytes -= size_bytes
        return answer
