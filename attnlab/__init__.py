"""What a classifier looks at, how an adversary moves that gaze, and how to train a model whose gaze holds.

The names of `__init__.pyi` are imported when they are first used, so that `import attnlab` costs nothing.
"""

import lazy_loader

__version__ = "1.0.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
