"""What every test shares: where ../shared is, and a reason to skip where it is not."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with fixtures, weights and data that are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared fixtures at {SHARED}")
    return SHARED
