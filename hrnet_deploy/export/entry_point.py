"""The function `export`, which takes the fields of `ExportOptions` as its parameters."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.options_text import options_text

if TYPE_CHECKING:
    from hrnet_deploy.export.result import ExportResult

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


@contextlib.contextmanager
def export_extra() -> Iterator[None]:
    """Refuse an environment without the export extra, where the body imports what it needs."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting needs PyTorch and ONNX, got: {error}. pip install 'hrnet-deploy[export,cpu]'."
        ) from error


def _exporter(options_of: Callable[_P, ExportOptions]) -> Callable[_P, ExportResult]:
    """Return the function that takes the fields of `ExportOptions` as its parameters."""

    def export(*args: _P.args, **kwargs: _P.kwargs) -> ExportResult:
        options = options_of(*args, **kwargs)
        with export_extra():
            from hrnet_deploy.export.run import run_export
        return run_export(options)

    signature = inspect.signature(options_of, eval_str=True)
    export.__signature__ = signature.replace(return_annotation="ExportResult")  # type: ignore[attr-defined]
    export.__qualname__, export.__doc__ = "export", _DOC.format(options=options_text())
    return export


export = _exporter(ExportOptions)
