"""Counts in words: one image, two images."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, which is plural unless the number is one: `1 image`, `0 images`, `2 boxes`."""
    if number == 1:
        return f"1 {noun}"
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{number} {noun}{ending}"
