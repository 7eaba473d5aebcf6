"""A user's own claim: a formula of statsmodels over the columns of the table of images."""

import io
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attnlab.errors import UserError, nearest
from attnlab.study.control import IMAGES_PER_VARIABLE, fitted, separated, too_few

#: what a formula may call beside its columns
FUNCTIONS = {name: getattr(np, name) for name in ("log", "log1p", "log2", "log10", "exp", "sqrt", "abs", "square")}
CODINGS = ("C", "I", "center", "standardize")  # of the formula language itself
#: columns that are the same for all methods, and those of them that depend on the attack
OF_ATTACK = ("adv_prediction", "succeed", "adv_confidence", "attack", "eps")
OF_IMAGE = (
    *("run", "model", "image_id", "label", "prediction", "defended", "confidence", "log_odds", "margin"),
    *("box_area", "box_x", "box_y", "box_offset", "box_count"),
)
EXAMPLE = "succeed ~ iou_att_gt + margin + box_area"
KEYS = ("run", "model", "attack", "eps", "method")
#: columns of the table of a formula's terms
COLUMNS = (
    *("formula", "model", "attack", "eps", "method", "kind", "n", "term"),
    *("coefficient", "ci_low", "ci_high", "p", "odds_ratio", "errors", "missing"),
)
NONE = float("nan")


class Formula(NamedTuple):
    """A formula, its outcome as written, and the columns that it names."""

    text: str
    outcome: str
    columns: tuple[str, ...]


def parse_formula(text: str, columns: Sequence[str]) -> Formula:
    """A formula over these columns.

    Raises:
        UserError: If it has no `~`, names what is no column, or calls what is none of FUNCTIONS and CODINGS.
    """
    outcome, tilde, rest = text.partition("~")
    if not (tilde and outcome.strip() and rest.strip()) or "~" in rest:
        raise UserError(f"expected a formula such as {EXAMPLE!r}, got {text!r}")
    named = dict.fromkeys(_names(text))
    for name in named:
        if name not in columns and name not in FUNCTIONS and name not in CODINGS:
            near = nearest(name, [*columns, *FUNCTIONS, *CODINGS])
            raise UserError(f"expected a formula over columns of the table of images, got {name!r} in {text!r}{near}")
    return Formula(text, outcome.strip(), tuple(name for name in named if name in columns))


def _names(text: str) -> Iterator[str]:
    """Names in a formula; a name of numpy's goes without `np.`, and other attributes are refused."""
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
    except (tokenize.TokenError, SyntaxError):
        raise UserError(f"expected a formula such as {EXAMPLE!r}, got {text!r}") from None
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == tokenize.STRING or (before and before.string == "." and token.type == tokenize.NAME):
            raise UserError(
                f"expected a formula of columns and {', '.join(FUNCTIONS)}, got {token.string!r} in {text!r}"
            )
        if token.type == tokenize.NAME:
            yield token.string


def fit_formula(images: pd.DataFrame, formula: Formula) -> pd.DataFrame:
    """A row of COLUMNS for each term, of each run, attack, eps and method; one where it cannot be fitted, with why.

    What names no map is fitted once for all methods, what names no attack once for all eps.
    """
    keys = [key for key in KEYS if not _same(formula.columns, key)]
    groups = images.drop_duplicates([*keys, "image_id"]).groupby(keys, sort=False)
    rows = []
    for values, frame in groups:
        about = dict(zip(keys, values, strict=True)) | {"formula": formula.text}
        rows += [{**about, **row} for row in _terms(frame, formula)]
    return pd.DataFrame(rows).reindex(columns=[*COLUMNS])


def _same(columns: Sequence[str], key: str) -> bool:
    """Whether all of the columns are the same for all values of a key."""
    free = {"method": (*OF_IMAGE, *OF_ATTACK), "eps": OF_IMAGE, "attack": OF_IMAGE}.get(key, ())
    return set(columns) <= set(free)


def _terms(frame: pd.DataFrame, formula: Formula) -> list[Mapping[str, Any]]:
    used = frame.dropna(subset=[*formula.columns]).reset_index(drop=True)
    binary = formula.outcome in used and set(used[formula.outcome].unique()) <= {0, 1}
    kind = {"kind": "logistic" if binary else "linear", "n": len(used)}
    if not len(used):
        missing = next((name for name in formula.columns if frame[name].isna().all()), "a column")
        instead = "; runs of before do not record it, log_odds is near it" if missing == "margin" else ""
        return [{**kind, "missing": f"no image has {missing}{instead}"}]
    model = _model(formula, used, binary=binary)
    x, names = np.asarray(model.exog, float), list(model.exog_names)
    varying = x[:, np.ptp(x, axis=0) > 0]
    reason = too_few(model.endog, varying.shape[1]) if binary else _too_few(len(used), varying.shape[1])
    if not reason and np.linalg.matrix_rank(x) < x.shape[1]:
        reason = "the terms depend on each other"
    if not reason and (np.linalg.qr(x)[0] ** 2).sum(1).max() > 1 - 1e-9:  # its error would count as none
        reason = "one image alone decides a term"
    if not reason and binary and separated(varying, model.endog):
        reason = "the terms tell the groups apart (separation)"
    if reason:
        return [{**kind, "missing": reason}]
    fit, errors = fitted(model, used["label"].to_numpy())
    if fit is None or not np.isfinite(np.asarray(fit.bse)).all():
        return [{**kind, "missing": "the regression did not converge"}]
    ends = np.asarray(fit.conf_int())
    return [
        {
            **kind,
            "term": name,
            **dict(zip(("coefficient", "ci_low", "ci_high", "p"), map(float, numbers), strict=True)),
            "odds_ratio": float(np.exp(numbers[0])) if binary else NONE,
            "errors": errors,
        }
        for name, *numbers in zip(names, fit.params, ends[:, 0], ends[:, 1], fit.pvalues, strict=True)
    ]


def _too_few(images: int, variables: int) -> str:
    needed = IMAGES_PER_VARIABLE * variables
    return "" if images >= needed else f"too few images: {images}, {needed} needed for {variables} variables"


def _model(formula: Formula, used: pd.DataFrame, *, binary: bool) -> Any:
    from patsy import PatsyError
    from statsmodels.formula import api

    make = api.logit if binary else api.ols
    try:
        return make(formula.text, used, eval_env=FUNCTIONS)
    except (PatsyError, SyntaxError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"expected a formula such as {EXAMPLE!r}, got {formula.text!r} ({reason})") from None
