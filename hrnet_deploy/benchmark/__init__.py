"""The speed of artifacts, measured side by side under recorded conditions."""
