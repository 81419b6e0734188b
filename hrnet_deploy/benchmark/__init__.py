"""How fast artefacts are: measured side by side, with everything that could explain a figure."""
