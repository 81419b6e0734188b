"""The version, known also where the package runs from a checkout and no installer has written it down."""

VERSION = "0.2.0"
