"""Whether a change of the code changes its results: commands of one version, run again by another."""

from .main import main

__all__ = ["main"]
