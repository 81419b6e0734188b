"""From a checkpoint or a foreign graph to a verified artefact: the one place where the rooms meet."""

from hrnet_deploy.pipeline.exporting import export, export_artifact
from hrnet_deploy.pipeline.writing import Exported

__all__ = ["Exported", "export", "export_artifact"]
