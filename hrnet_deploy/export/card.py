"""The card of a graph that is about to be written."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.version import VERSION

if TYPE_CHECKING:
    import onnx


def card_of(graph: onnx.ModelProto, plan: ExportPlan, facts: ModelInfo, lineage: Mapping[str, str]) -> ModelCard:
    """Describe a finished graph.

    Args:
        graph: with its ends.
        plan: what was asked for.
        facts: of the net.
        lineage: what is known of its making beyond the net's own and the tools.

    Returns:
        The card; nothing is measured yet.
    """
    from hrnet_deploy.exporters import onnx_file, opset

    inputs, outputs = onnx_file.describe(graph)
    preprocessing = plan.preprocessing
    if plan.pixels is not None and plan.pixels is not preprocessing.channel_order:
        mean, std = preprocessing.mean[::-1], preprocessing.std[::-1]
        preprocessing = dataclasses.replace(preprocessing, channel_order=plan.pixels, mean=mean, std=std)
    tools = {"hrnet-deploy": VERSION, "onnx": version("onnx")}
    with contextlib.suppress(PackageNotFoundError):  # a graph that is not simplified does without
        tools["onnxsim"] = version("onnxsim")
    return ModelCard(
        task=facts.task,
        variant=facts.variant,
        classes=plan.classes,
        preprocessing=preprocessing,
        precision=plan.precision,
        inputs=inputs,
        outputs=outputs,
        shapes=plan.shapes,
        output_kind=plan.output_kind,
        pixels_in=plan.pixels is not None,
        align_corners=plan.info.align_corners,
        threshold=plan.threshold,
        palette=plan.info.palette,
        opset=opset.written(graph),
        lineage={**facts.lineage, **tools, **lineage},
    )


def plain_card(graph: onnx.ModelProto, plan: ExportPlan, facts: ModelInfo) -> ModelCard:
    """Describe the same net as a float32 graph that takes floats and answers as the net does.

    Args:
        graph: that graph.
        plan: of the artefact.
        facts: of the net.

    Returns:
        The card.
    """
    plain = dataclasses.replace(plan, precision=Precision.FP32, pixels=None, output_kind=facts.output_kind)
    return card_of(graph, plain, facts, {})
