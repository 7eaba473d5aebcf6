"""Pictures to draw, and what is found in a figure: panels, colour bars, words."""

import numpy as np
from matplotlib.figure import Figure

DRAW = np.random.default_rng(0)


def image(height: int = 24, width: int = 32) -> np.ndarray:
    return DRAW.random((height, width, 3)).astype(np.float32)


def panels_of(figure: Figure) -> list:
    """Axes that show a picture of pixels; colour bars are those with ticks."""
    return [axes for axes in figure.axes if axes.images and not len(axes.get_yticks())]


def bars_of(figure: Figure) -> list:
    return [axes for axes in figure.axes if axes.images and len(axes.get_yticks())]


def words(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts)]
    return [text for text in [*found, *(text.get_text() for text in figure.texts)] if text]
