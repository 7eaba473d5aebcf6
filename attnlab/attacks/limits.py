"""Values that options of attacks may have; no torch."""

from attnlab.errors import UserError

MOST_STEPS, MOST_RESTARTS = 100_000, 10_000  # more would not end: a thousand times the most that papers report
MOST_PIXELS = 1_001  # of a side of a kernel, beyond which it is no local mean
LEAST_LIKELY, LIKELY = "least-likely", "likely:"  # targets by the clean image: its last class, or the K-th behind `:`


def check_margin(value: float, what: str = "--keep-prediction") -> None:
    """Refuse a margin that no logits can be held at."""
    if not 0 <= value < float("inf"):
        raise UserError(
            f"expected {what} of at least 0, got {value:g}: it is the lead of the predicted class over every other, in "
            "logits"
        )


def check_sigma(value: float, what: str = "--sigma") -> None:
    """Refuse a weight of A3's attention deviation that is none."""
    if not 0 <= value < float("inf"):
        raise UserError(f"expected {what} of at least 0, got {value:g}")


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


def check_target(target: int | str) -> None:
    """Refuse what is no target: a class by its index, `least-likely`, or `likely:K`, the K-th most likely of all.

    Both of the latter are of the clean image; its most likely class, `likely:1`, is its prediction.
    """
    if isinstance(target, int):
        if target < 0:
            raise UserError(f"expected a target from class 0 on, got {target}")
    elif target != LEAST_LIKELY and likely_rank(target) is None:
        raise UserError(f"expected a target as the index of a class, {LEAST_LIKELY} or {LIKELY}K, got {target!r}")


def likely_rank(target: str) -> int | None:
    """K of a target `likely:K`, at least 2; None of another text."""
    rank = target.removeprefix(LIKELY)
    if rank == target or not rank.isdecimal():
        return None
    if len(rank) > 9 or int(rank) < 2:
        raise UserError(
            f"expected {LIKELY}K with K from 2 to the number of classes, got {target!r}: {LIKELY}1 is the clean "
            f"image's prediction, {LIKELY}2 the class behind it"
        )
    return int(rank)
