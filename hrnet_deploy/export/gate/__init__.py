"""The accuracy gate: which blocks stay in float so that the accuracy target is met."""
