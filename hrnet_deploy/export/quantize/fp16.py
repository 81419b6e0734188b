"""Conversion to FP16; measured value ranges decide which nodes stay in float32."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.calibration.blocks import blocks
from hrnet_deploy.calibration.image_selection import CalibrationImage, choose
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.converter import ConvertedGraph, Converter
from hrnet_deploy.export.quantize.similarity import rank_by_sensitivity
from hrnet_deploy.export.verify import ReferenceBatch, run_on_cpu
from hrnet_deploy.exporters.fp16 import Fp16Graph, fp16_overflows, to_fp16
from hrnet_deploy.exporters.graph_edit import copy_of
from hrnet_deploy.exporters.intermediate_outputs import expose_absmax
from hrnet_deploy.qdq_plan import name_of

RANGE_IMAGES = 32
"""Images on which value ranges and the sensitivity of blocks are measured."""
_VALIDATION_IMAGES = 64


class Fp16Converter(Converter):
    """Conversion to FP16 with any blocks kept in float32."""

    def __init__(self, model: onnx.ModelProto, plan: ExportPlan, batches: Sequence[ReferenceBatch] = ()) -> None:
        super().__init__(model, plan, batches)
        images = () if plan.images is None else plan.images.calibration[:RANGE_IMAGES]
        inputs = itertools.chain((batch.inputs for batch in batches), self.inputs(images))
        self._unsafe = fp16_unsafe_nodes(model, inputs)
        self._blocks = blocks(model)

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order all convolving blocks but the least sensitive one, which stays in FP16."""
        return self._order

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Convert without validation."""
        return self.with_ends(self._convert(keep).model)

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert, and compare the outputs on validation images."""
        half, agreement, features = self._convert(keep), None, {}
        if images := self._validation_images():
            scorer = self.scorer(self.inputs(images))
            found = scorer.compare(self.featured_copy(half.model))
            agreement, features = self.agreement(found, scorer.count), dict(found.features)
        return ConvertedGraph(
            graph=self.with_ends(half.model),
            batches=self.batches,
            kept_fp32=half.kept,
            underflowed=half.underflowed,
            untyped=self.with_ends(copy_of(self.model)) if self.flags_set_precision else None,
            agreement=agreement,
            features=features,
        )

    @functools.cached_property
    def _order(self) -> tuple[str, ...]:
        convolutions = {name_of(node) for node in self.model.graph.node if node.op_type == "Conv"}
        convolving = [block for block, nodes in self._blocks.items() if nodes & convolutions]
        images = () if self.plan.accuracy is None else self.plan.accuracy.images(RANGE_IMAGES)
        scorer = self.scorer(self.inputs(images))

        def alone(block: str) -> onnx.ModelProto:
            return self.with_features(self._convert(tuple(name for name in self._blocks if name != block)).model)

        return tuple(rank_by_sensitivity(convolving, alone, scorer))[:-1]

    def _convert(self, keep: tuple[str, ...]) -> Fp16Graph:
        return to_fp16(self.model, self._unsafe.union(*(self._blocks[block] for block in keep)))

    def _validation_images(self) -> tuple[CalibrationImage, ...]:
        """Take those of the accuracy target, else the user's other images, else those set aside."""
        plan = self.plan
        if plan.accuracy is not None:
            return plan.accuracy.images(_VALIDATION_IMAGES)
        if plan.evaluation is not None:
            return choose(plan.evaluation, _VALIDATION_IMAGES)
        return () if plan.images is None else plan.images.validation


def fp16_unsafe_nodes(graph: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> frozenset[str]:
    """Run a float32 graph on network inputs (N, 3, H, W) and name the nodes whose values exceed half precision."""
    tapped, taps = expose_absmax(graph)
    absmax = dict.fromkeys(taps.values(), 0.0)
    runs = run_on_cpu(tapped, batches, in_order=True)
    del tapped
    for _, found in runs:
        for tap, value in found.items():
            absmax[taps[tap]] = max(absmax[taps[tap]], float(np.float64(value)))
    return fp16_overflows(graph, absmax)
