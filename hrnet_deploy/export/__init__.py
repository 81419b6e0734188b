"""From a checkpoint or a foreign graph to a verified artefact: the one place where the rooms meet."""

from hrnet_deploy.export.agreement import AgreementError
from hrnet_deploy.export.gate.result import AccuracyGateError
from hrnet_deploy.export.publish import ExportResult
from hrnet_deploy.export.run import export, export_artifact

__all__ = ["AccuracyGateError", "AgreementError", "ExportResult", "export", "export_artifact"]
