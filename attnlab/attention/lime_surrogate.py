"""LIME's weights from fewer passes: what a Gaussian process expects of very many samples, corrected by those made.

The probability of a class is far from linear in which superpixels are shown, and most of what a regression of some
hundred samples errs by is what no line can follow. A Gaussian process of the log-odds, learnt from the same samples,
can, and asking it costs no pass of the network. It is a control variate (Owen 2013, Monte Carlo theory, 8.9): the
weights are LIME's regression of what the process expects of ASKED times as many samples, plus the regression of its
errors.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from torch import Tensor

from attnlab.attention.lime import RIDGE, fit, similarity
from attnlab.attention.lime_samples import orthogonal
from attnlab.superpixels import Weights

Numbers = np.ndarray[Any, np.dtype[np.float64]]

LEAST = 1e-5  # probabilities nearer to 0 or 1 are taken for it
ASKED = 16  # samples that the process is asked for, of each that was made
LEARNT = 500  # samples it learns from, at most: its time grows with their third power


def surrogate_fit(shown: Sequence[Tensor], values: Sequence[Tensor]) -> list[Weights]:
    """LIME weights of each image, as `attnlab.attention.lime.fit` takes and gives them, less noisy.

    Of very many samples both give the same: the errors' regression is then taken as it is.
    """
    return [_weights(rows, answers.double()) for rows, answers in zip(shown, values, strict=True)]


def _weights(rows: Tensor, values: Tensor) -> Weights:
    odds = values.clamp(LEAST, 1 - LEAST).logit().numpy()
    if np.ptp(odds[:LEARNT]) < 1e-9:  # nothing hangs on what is shown
        return fit([rows], [values])[0]
    process = Process(_signs(rows)[:LEARNT], odds[:LEARNT])
    asked = torch.from_numpy(orthogonal(np.random.default_rng(0), ASKED * len(rows), rows.shape[1])).bool()
    expected = np.concatenate([process.left_out(), process(_signs(rows)[LEARNT:])])
    (weights,) = fit([asked], [torch.from_numpy(process(_signs(asked)))])
    return weights + correction(rows, values - torch.from_numpy(expected))


def _signs(rows: Tensor) -> Numbers:
    """1 where a superpixel is shown and -1 where it is hidden, so scaled that each sample's squares sum to 1."""
    signs: Numbers = (2 * rows.double() - 1).numpy() / np.sqrt(rows.shape[1])
    return signs


class Process:
    """Expects a probability of any sample; a Gaussian process of its log-odds, linear and smooth parts and noise.

    The kernel's four numbers are the likeliest ones (Rasmussen and Williams 2006, section 5.4.1).
    """

    def __init__(self, signs: Numbers, odds: Numbers) -> None:
        """Learn from samples, (samples, superpixels), and their log-odds, (samples,)."""
        kernel = ConstantKernel(0.5) * DotProduct(0, "fixed") + ConstantKernel(0.5) * RBF() + WhiteKernel(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a part that the likeliest process does without
            self.process = GaussianProcessRegressor(kernel, normalize_y=True).fit(signs, odds)

    def __call__(self, signs: Numbers) -> Numbers:
        """Expected probabilities of other samples."""
        if not len(signs):
            return np.empty(0)
        return _probabilities(*self.process.predict(signs, return_std=True))

    def left_out(self) -> Numbers:
        """Expected probability of each sample it learnt from, had it learnt from all the others (eqs. 5.10-5.12)."""
        precision = np.linalg.inv(self.process.L_ @ self.process.L_.T).diagonal()
        centre, spread = self.process._y_train_mean, self.process._y_train_std
        means = self.process.y_train_ - self.process.alpha_ / precision
        return _probabilities(centre + spread * means, spread / np.sqrt(precision))


def _probabilities(means: Numbers, deviations: Numbers) -> Numbers:
    """Mean of 1 / (1 + exp(-z)) over normal z (MacKay 1992, eq. 10)."""
    probabilities: Numbers = 1 / (1 + np.exp(-means / np.sqrt(1 + np.pi * deviations**2 / 8)))
    return probabilities


def correction(rows: Tensor, errors: Tensor) -> Weights:
    """LIME's regression of the errors, shrunk by the share of its squares that is its own noise (Stein 1956)."""
    (fitted,) = fit([rows], [errors])
    (samples, superpixels), table = rows.shape, rows.double()
    weights = similarity(table[None], torch.tensor([superpixels]))[0]
    share = weights / weights.sum()
    centred = table - share @ table
    gram = (centred * weights[:, None]).T @ centred
    gram.diagonal().add_(RIDGE)
    left = errors - share @ errors - centred @ torch.from_numpy(fitted)
    noise = (centred * (weights * left)[:, None] @ torch.linalg.inv(gram)).square().sum()  # sandwich variance
    found, spare = np.square(fitted).sum(), max(1, samples - superpixels) / samples
    return fitted * max(0.0, 1 - float(noise) / spare / found) if found else fitted
