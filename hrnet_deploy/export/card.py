"""The model card of a graph that is about to be written."""

from __future__ import annotations

import contextlib
import dataclasses
from importlib.metadata import PackageNotFoundError, version

import onnx

from hrnet_deploy.export.graph_io import in_channel_order
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.exporters import onnx_file, opset
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.version import VERSION


def build_card(graph: onnx.ModelProto, plan: ExportPlan, quantization: QuantizationInfo | None = None) -> ModelCard:
    """Describe a finished graph; nothing is measured yet."""
    inputs, outputs = onnx_file.describe(graph)
    info, preprocessing = plan.info, plan.preprocessing
    tools = {"hrnet-deploy": VERSION, "onnx": version("onnx")}
    with contextlib.suppress(PackageNotFoundError):  # not needed without simplification
        tools["onnxsim"] = version("onnxsim")
    return ModelCard(
        task=info.task,
        variant=info.variant,
        classes=plan.classes,
        preprocessing=in_channel_order(preprocessing, plan.pixels or preprocessing.channel_order),
        precision=plan.precision,
        inputs=inputs,
        outputs=outputs,
        shapes=plan.shapes,
        output_kind=plan.output_kind,
        pixels_in=plan.pixels is not None,
        align_corners=info.align_corners,
        threshold=plan.threshold,
        palette=info.palette,
        opset=opset.written(graph),
        quantization=quantization,
        lineage={**info.lineage, **tools},
    )


def float_card(graph: onnx.ModelProto, plan: ExportPlan) -> ModelCard:
    """Describe the float32 graph of an export: float input, the model's own output."""
    plain = dataclasses.replace(plan, precision=Precision.FP32, pixels=None, output_kind=plan.info.output_kind)
    return build_card(graph, plain)
