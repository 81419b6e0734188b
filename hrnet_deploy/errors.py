"""Errors of the package. Each message is one line: requirement, actual value, remedy.

Each type also derives from the builtin type that a caller expects, so either can be caught.
"""


class HrnetDeployError(Exception):
    """Base of all errors that this package raises.

    Attributes:
        exit_code: exit code of a command that this error ends: 1 failed, 2 bad input, 3 gate missed.
    """

    exit_code = 1


class UsageError(HrnetDeployError, ValueError):
    """An argument, or a combination of arguments, cannot be used."""

    exit_code = 2


class MissingFileError(HrnetDeployError, FileNotFoundError):
    """A file or folder of the user does not exist."""

    exit_code = 2


class CheckpointError(HrnetDeployError, ValueError):
    """A checkpoint cannot be read, has no known dialect, or does not fit the variant."""

    exit_code = 2


class ImageError(HrnetDeployError, ValueError):
    """An image, folder or video cannot be decoded or used."""

    exit_code = 2


class ArtifactError(HrnetDeployError, ValueError):
    """An artifact (.onnx, .engine) or its model card is damaged, of another tool, or inconsistent."""

    exit_code = 2


class DownloadError(HrnetDeployError, OSError):
    """A file could not be fetched, or has the wrong digest."""


class DeviceError(HrnetDeployError, RuntimeError):
    """The requested device does not exist, or the runtime would silently use another."""


class ExportError(HrnetDeployError, RuntimeError):
    """A conversion step produced no graph or a wrong one."""


class VerificationError(ExportError):
    """An exported graph differs from its reference by more than the tolerance."""

    exit_code = 3


class BuildError(HrnetDeployError, RuntimeError):
    """TensorRT built no engine from a graph, or an engine that does not match the request."""


class MissingDependencyError(HrnetDeployError, ImportError):
    """An optional package is missing; the message names the pip line."""

    exit_code = 2


def one_line(error: object, limit: int | None = None) -> str:
    """Put the text of an error, or any value, on one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]
