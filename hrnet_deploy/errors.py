"""Every error of the package: one line that says what, got, and what to do.

Each type also derives from the builtin a caller would expect, so either may be caught.
"""


class HrnetDeployError(Exception):
    """Root of all errors raised on purpose by this package.

    Attributes:
        exit_code: what a command returns when this error ends it (DESIGN: 1 failed, 2 bad input, 3 gate missed).
    """

    exit_code = 1


class UsageError(HrnetDeployError, ValueError):
    """An argument, or a combination of arguments, is not usable."""

    exit_code = 2


class MissingFileError(HrnetDeployError, FileNotFoundError):
    """A file or folder the user named is not there."""

    exit_code = 2


class CheckpointError(HrnetDeployError, ValueError):
    """A checkpoint cannot be read, is of no known dialect, or does not fit the variant."""

    exit_code = 2


class ImageError(HrnetDeployError, ValueError):
    """An image, folder or video cannot be decoded or used."""

    exit_code = 2


class ArtifactError(HrnetDeployError, ValueError):
    """An artefact (.onnx, .engine) or its model card is damaged, foreign or inconsistent."""

    exit_code = 2


class DownloadError(HrnetDeployError, OSError):
    """A file could not be fetched, or what arrived has the wrong digest."""


class DeviceError(HrnetDeployError, RuntimeError):
    """The device asked for is not there, or the runtime would silently use another."""


class ExportError(HrnetDeployError, RuntimeError):
    """A conversion step produced no graph or a wrong one."""


class VerificationError(ExportError):
    """An exported graph differs from its reference by more than the tolerance."""

    exit_code = 3


class BuildError(HrnetDeployError, RuntimeError):
    """TensorRT made no engine of a graph, or one that is not what was asked for."""


class MissingDependencyError(HrnetDeployError, ImportError):
    """An optional package is needed; the message names the pip line."""

    exit_code = 2


def one_line(error: object, limit: int | None = None) -> str:
    """Put a message on one line.

    Args:
        error: the error, or any value with a text.
        limit: longest result in characters; None for no limit.

    Returns:
        The text with each run of white space as one blank.
    """
    return " ".join(str(error).split())[:limit]
