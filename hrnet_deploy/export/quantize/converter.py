"""Conversion of the float32 graph of an export to its precision, as often as needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8
from hrnet_deploy.engines.difference import Cosine
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.similarity import Scored, SimilarityScorer
from hrnet_deploy.export.result import FLOOR, Agreement, floor_for
from hrnet_deploy.export.source import RANDOM
from hrnet_deploy.export.verify import ReferenceBatch
from hrnet_deploy.exporters import output_head, uint8_input
from hrnet_deploy.exporters.feature_outputs import attach_features, detach_features, feature_infos
from hrnet_deploy.exporters.graph_edit import copy_of
from hrnet_deploy.processing.two_classes import cut_of
from hrnet_deploy.quantization_info import QuantizationInfo, Similarity
from hrnet_deploy.spec import OutputKind, Task

_TOPK = 5


@dataclass(frozen=True, kw_only=True)
class ConvertedGraph:
    """A graph that is ready to be written.

    Attributes:
        graph: simplified, in its precision, with its input and output as planned.
        batches: inputs and outputs that the written file must reproduce.
        sensitivity: by block, the similarity of a graph in which that block alone is INT8; empty unless requested.
        untyped: the float32 graph with the same ends, for a TensorRT whose builder flags set the precision.
        agreement: share of equal outputs on validation images; None for float32, random weights and without images.
        features: by name, the cosine similarity of a feature to that of the float32 graph on validation images.
        implicit: for an INT8 graph, the same quantization for a TensorRT that reads a calibration cache.
    """

    graph: onnx.ModelProto
    batches: Sequence[ReferenceBatch]
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    quantization: QuantizationInfo | None = None
    sensitivity: Mapping[str, Similarity] = field(default_factory=dict)
    untyped: onnx.ModelProto | None = None
    agreement: Agreement | None = None
    features: Mapping[str, Cosine] = field(default_factory=dict)
    implicit: ImplicitInt8 | None = None


class Converter:
    """Conversion of one simplified graph to float32; the converters of other precisions derive from it.

    Attributes:
        model: the graph without the uint8 input, the output head and the features of the plan.
        cut: score above which a single output channel means the second class; None for a channel per class.
    """

    def __init__(self, model: onnx.ModelProto, plan: ExportPlan, batches: Sequence[ReferenceBatch] = ()) -> None:
        self._features = feature_infos(model, plan.info.features)
        self.model, self.plan, self.batches = detach_features(model, plan.info.features), plan, batches
        self.cut = cut_of(plan.threshold, plan.info.output_kind)
        self.flags_set_precision = plan.engine is not None and plan.engine.flags_set_precision

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order the blocks that may be kept in float beyond those that the user named, most sensitive first."""
        return ()

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:  # noqa: ARG002  # a float32 graph keeps every block
        """Convert with these further blocks in float, without validation."""
        return self.with_ends(copy_of(self.model))

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert with these further blocks in float, and compare the outputs on validation images."""
        return ConvertedGraph(graph=self.graph(keep), batches=self.batches)

    def inputs(self, images: tuple[CalibrationImage, ...]) -> Iterable[NDArray[np.float32]]:
        """Preprocess images to network inputs, float32 (1, 3, H, W) each; re-iterable."""
        return Batches(images, self.plan.preprocessing, 1) if images else ()

    def agreement(self, found: Scored, images: int) -> Agreement | None:
        """Compare features and predictions with their floors; return what misses its floor, else the predictions.

        None for random weights, whose outputs any noise changes.
        """
        info, precision = self.plan.info, self.plan.precision
        if info.lineage.get("weights") == RANDOM:
            return None
        judged = [
            Agreement(precision=precision, share=cosine.mean, images=images, floor=FLOOR, feature=name)
            for name, cosine in sorted(found.features.items(), key=lambda item: item[1].mean)
        ]
        if not info.headless:
            share, floor = found.similarity.agreement, floor_for(info.task, images)
            judged.append(Agreement(precision=precision, share=share, images=images, floor=floor))
        passing = judged[0] if info.headless else judged[-1]
        return next((one for one in judged if not one.passed), passing)

    def with_features(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Add the features of the plan to the outputs of a converted graph, in place."""
        return attach_features(graph, self._features) if self._features else graph

    def featured_copy(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a graph with its features as outputs; the graph itself where there are none."""
        return attach_features(copy_of(graph), self._features) if self._features else graph

    def scorer(
        self, images: Iterable[NDArray[np.float32]], others: Iterable[NDArray[np.float32]] = ()
    ) -> SimilarityScorer:
        """Run the float32 graph, with its features, on validation images."""
        reference, info = self.featured_copy(self.model), self.plan.info
        return SimilarityScorer(reference, images, others, self.cut, features=info.features, headless=info.headless)

    def with_ends(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Add the output head and the uint8 input of the plan to a converted graph, in place."""
        plan, info, cut = self.plan, self.plan.info, self.cut
        if plan.output_kind is not info.output_kind:
            if info.task is Task.SEGMENTATION:
                output_head.add_argmax(graph, align_corners=info.align_corners, cut=cut)
            elif cut is not None:
                output_head.add_two_classes(graph, cut if plan.output_kind is OutputKind.TOPK else None)
            elif plan.output_kind is OutputKind.TOPK:
                output_head.add_topk(graph, min(_TOPK, info.num_classes))
            else:
                output_head.add_softmax(graph)
        if plan.pixels is not None:
            own = plan.preprocessing
            uint8_input.add_uint8_input(graph, own.mean, own.std, swap=plan.pixels is not own.channel_order)
        return self.with_features(graph)
