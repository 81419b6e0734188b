"""hrnet-report: what cheaper artefacts lose against a reference, and what they gain."""
