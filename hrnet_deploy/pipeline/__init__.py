"""From a checkpoint or a foreign graph to a verified artefact: the one place where the rooms meet."""

from hrnet_deploy.pipeline.exporting import Exported, export, export_artifact

__all__ = ["Exported", "export", "export_artifact"]
