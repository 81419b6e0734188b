"""From an HRNet checkpoint to a fast, measured deployment."""
