"""From a checkpoint or a foreign graph to a verified artefact: the one place where the rooms meet."""

from hrnet_deploy.pipeline.agreement import AgreementError
from hrnet_deploy.pipeline.exporting import export, export_artifact
from hrnet_deploy.pipeline.verdict import GateMissedError
from hrnet_deploy.pipeline.writing import Exported

__all__ = ["AgreementError", "Exported", "GateMissedError", "export", "export_artifact"]
