"""The command line: options, one library call, one echo."""

from .app import main

__all__ = ["main"]
