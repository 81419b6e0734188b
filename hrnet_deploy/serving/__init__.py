"""A server of artifacts: REST, the V2 protocol, metrics and a page."""
