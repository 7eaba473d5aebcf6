"""What a classifier looks at, how an adversary moves that gaze, and how to train a model whose gaze holds."""

__version__ = "0.1.0"
