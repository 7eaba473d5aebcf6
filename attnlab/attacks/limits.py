"""Values that options of attacks may have; no torch."""

from attnlab.errors import UserError

MOST_STEPS, MOST_RESTARTS = 100_000, 10_000  # more would not end: a thousand times the most that papers report


def check_margin(value: float, what: str = "--keep-prediction") -> None:
    """Refuse a margin that no logits can be held at."""
    if not 0 <= value < float("inf"):
        raise UserError(
            f"expected {what} of at least 0, got {value:g}: it is the lead of the predicted class over every other, in "
            "logits"
        )


def check_softplus(value: float, what: str = "--explain-softplus") -> None:
    """Refuse a sharpness of softplus that makes no smooth ReLU."""
    if not 0 < value < float("inf"):
        raise UserError(f"expected {what} above 0, such as 10, got {value:g}")


def check_step(value: float, norm: str = "linf") -> None:
    """Refuse a length of a step that leads nowhere."""
    check_budget(value, "--step-size", norm)
    if not value:
        raise UserError("expected --step-size above 0, got 0: such an attack stays where it starts")


def check_budget(value: float, what: str, norm: str | None = "linf") -> None:
    """Refuse a length that is not in [0, 1], in L2 below 0; where it may be in grey levels, the error says so.

    Nothing is refused while the norm is not known, None.
    """
    if norm is None:
        return
    if norm != "linf":
        if not 0 <= value < float("inf"):
            raise UserError(f"expected {what} of at least 0 in {norm}, got {value:g}")
    elif not 0 <= value <= 1:
        likely = f"; did you mean {value:g}/255?" if 1 < value <= 255 else ""
        raise UserError(f"expected {what} in [0, 1], got {value:g}{likely}")
