"""The version of RECO, which pyproject.toml repeats; a test compares them."""

VERSION = "0.1.0"
