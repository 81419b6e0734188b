"""How good an artefact is, and what a cheaper one loses: metrics, datasets, comparisons."""
