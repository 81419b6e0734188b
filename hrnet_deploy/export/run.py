"""One export, from its options to a verified artifact."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from hrnet_deploy.export.accuracy_waterfall import measure_waterfall
from hrnet_deploy.export.agreement import AgreementError
from hrnet_deploy.export.deploy import check_deployment, deploy, deploy_artifact, only_deploys
from hrnet_deploy.export.engine.from_onnx import compile_file
from hrnet_deploy.export.gate.accuracy_target import check_accuracy_options
from hrnet_deploy.export.gate.gate import search
from hrnet_deploy.export.gate.result import AccuracyGateError
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.option_declaration import ExportKind
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.options_text import options_text
from hrnet_deploy.export.plan import ExportPlan, export_kind, make_plan
from hrnet_deploy.export.progress import ExportProgress
from hrnet_deploy.export.publish import ExportResult, publish
from hrnet_deploy.export.quantize.converter import make_converter
from hrnet_deploy.export.source import SourceModel, read_card
from hrnet_deploy.export.verify import make_reference_batches
from hrnet_deploy.spec import ModelCard

if TYPE_CHECKING:
    import onnx

_P = ParamSpec("_P")

_DOC = """Export a model to an ONNX file or a TensorRT engine that describes itself and agrees with its original.

{options}

Returns:
    The artifact and what was measured. It serves as a path: `Predictor(export(...))`, `Path(export(...))`.

Raises:
    UsageError: an option that cannot be used, or that has no effect on this export.
    CheckpointError: weights that cannot be read or do not fit.
    DownloadError: zoo weights that cannot be fetched.
    ExportError: a conversion failed.
    ImageError: calibration images that cannot be used.
    VerificationError: the artifact is too far from its original; nothing is left behind.
    AgreementError: a VerificationError; FP16 or INT8 keeps less than 90 % of the predictions on validation images.
    AccuracyGateError: a VerificationError; the artifact loses more than `max_drop`, whatever is kept in float.
    MissingDependencyError: the export extra, or TensorRT, is not installed.
    BuildError: TensorRT refused to build.
    DeviceError: this TensorRT builds on a GPU only, and there is none.
"""


def run_export(options: ExportOptions) -> ExportResult:
    """Export as the options state; `export` documents results and errors."""
    card = read_card(Path(options.model)) if options.model and str(options.model).endswith(".onnx") else None
    if only_deploys(options, card):
        return deploy_artifact(options)
    kind = export_kind(options, card)
    check_accuracy_options(options, kind)
    options.check_applies(kind)
    return deploy(_export(check_deployment(options), kind, card), options)


def _export(options: ExportOptions, kind: ExportKind, card: ModelCard | None) -> ExportResult:
    """Export to a file alone."""
    if card is not None and kind.as_is:
        with ExportProgress() as step:
            return compile_file(card, options, step)
    early = make_plan(options)
    with ExportProgress() as step:
        step("loading")
        source = open_source(options, early.opset)
        plan = early.resolve(source.info)
        step("running the original")
        reference = make_reference_batches(plan.preprocessing, plan.shapes, source.run, plan.info.output_kind)
        step("tracing")
        graph = _float_graph(source, plan)
        if not options.waterfall:
            del source  # its weights need not be in memory twice
        step("setting the precision")
        converter = make_converter(graph, plan, reference)
        choice = search(converter, plan.accuracy)
        result = publish(converter, choice, step)
    if result.verdict is not None and not result.verdict.passed:
        raise AccuracyGateError(result.verdict, result.path)
    if result.agreement is not None and not result.agreement.passed:
        raise AgreementError(result.agreement, result.path)
    if not options.waterfall or options.eval_data is None:
        return result
    steps = measure_waterfall(
        [result.path], options.eval_data, source=source, limit=options.eval_limit, device="cpu", backend="onnxruntime"
    )
    return dataclasses.replace(result, waterfall=steps)


def _float_graph(source: SourceModel, plan: ExportPlan) -> onnx.ModelProto:
    """Return the float32 graph of the model, simplified unless --no-simplify is given."""
    from hrnet_deploy.exporters.simplify import simplify

    graph = source.to_onnx(plan.shapes, plan.opset)
    return simplify(graph) if plan.options.simplify else graph


def _exporter(options_of: Callable[_P, ExportOptions]) -> Callable[_P, ExportResult]:
    """Return the function that takes the fields of `ExportOptions` as its parameters."""

    def export(*args: _P.args, **kwargs: _P.kwargs) -> ExportResult:
        return run_export(options_of(*args, **kwargs))

    signature = inspect.signature(options_of, eval_str=True)
    export.__signature__ = signature.replace(return_annotation=ExportResult)  # type: ignore[attr-defined]
    export.__qualname__, export.__doc__ = "export", _DOC.format(options=options_text())
    return export


export = _exporter(ExportOptions)
