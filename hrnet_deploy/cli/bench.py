"""`hrnet-bench`: how fast artefacts are, side by side."""
