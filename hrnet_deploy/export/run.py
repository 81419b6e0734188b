"""One export, from its options to a verified artifact."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from hrnet_deploy.export.accuracy_waterfall import measure_waterfall
from hrnet_deploy.export.deploy import check_deployment, deploy, deploy_artifact, only_deploys
from hrnet_deploy.export.engine.build import compile_file
from hrnet_deploy.export.gate.accuracy_target import check_accuracy_options
from hrnet_deploy.export.gate.gate import search
from hrnet_deploy.export.gate.result import AccuracyGateError
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.option_declaration import ExportKind
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import export_kind, make_plan
from hrnet_deploy.export.publish import publish
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.export.quantize.fp16 import Fp16Converter
from hrnet_deploy.export.quantize.int8 import Int8Converter
from hrnet_deploy.export.result import AgreementError, ExportResult
from hrnet_deploy.export.source import read_card
from hrnet_deploy.export.verify import make_reference_batches
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.progress import bar

_CONVERTERS = {Precision.FP32: Converter, Precision.FP16: Fp16Converter, Precision.INT8: Int8Converter}
_STEPS = ("loading", "running the original", "tracing", "setting the precision", "verifying", "building")


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
        with _progress() as step:
            return compile_file(card, options, step)
    early = make_plan(options)
    with _progress() as step:
        step("loading")
        source = open_source(options, early.opset)
        plan = early.resolve(source.info)
        step("running the original")
        info = plan.info
        reference = make_reference_batches(plan.preprocessing, plan.shapes, source.run, info.output_kind, info.features)
        step("tracing")
        graph = source.to_onnx(plan.shapes, plan.opset)
        if options.simplify:
            graph = simplify(graph)
        if not options.waterfall:
            del source  # its weights need not be in memory twice
        step("setting the precision")
        converter = _CONVERTERS[plan.precision](graph, plan, reference)
        gate = search(converter, plan.accuracy)
        result = publish(converter, gate, step)
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


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show a progress bar over `_STEPS`; a call shows that a step begins."""
    with bar(total=len(_STEPS), bar_format="{desc:<22} {bar:20} {n_fmt}/{total_fmt} [{elapsed}]") as shown:

        def step(name: str) -> None:
            shown.n = _STEPS.index(name)
            shown.set_description_str(name)

        yield step
