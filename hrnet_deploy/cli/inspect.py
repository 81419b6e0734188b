"""`hrnet-inspect`: what an artefact is, where it came from, and whether it is intact."""
