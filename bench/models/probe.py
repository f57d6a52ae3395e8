# SPDX-License-Identifier: Apache-2.0
"""Linear probes on frozen features, and statistics of two answers to the same pictures."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["CONFIDENCE", "STRENGTHS", "Paired", "choose", "fit", "paired", "wilson"]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 11
#: Inverse strengths of the L2 penalty. The best is chosen, all are measured. With a weaker penalty, a probe depends
#: more on differences that are smaller than the integers' noise.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Paired:
    """Float and integer answers to the same ``images`` pictures. Shares are 0..1, intervals are at `CONFIDENCE`.

    ``top1_*_interval`` and ``agreement_interval`` are Wilson's. ``loss`` is float less integer; ``loss_interval`` comes
    from a paired bootstrap over pictures. ``float_only``, ``integer_only``: pictures that only one of them has right.
    ``mcnemar_p``: the exact two-sided test that both are equally likely.
    """

    images: int
    top1_float: float
    top1_float_interval: tuple[float, float]
    top1_integer: float
    top1_integer_interval: tuple[float, float]
    agreement: float
    agreement_interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float]
    float_only: int
    integer_only: int
    mcnemar_p: float

    def figures(self) -> dict[str, Any]:
        return asdict(self)


def fit(features: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    """Multinomial logistic regression on standardised ``features`` (n, channels)."""
    return _probe(strength).fit(features, labels)


def choose(features: np.ndarray, labels: np.ndarray) -> float:
    """The one of `STRENGTHS` whose probe is right most often in five-fold cross-validation.

    Among equals, the strongest penalty wins. ``features`` are float features of training pictures, so neither integers
    nor test pictures influence the choice.
    """
    shares = [cross_val_score(_probe(strength), features, labels, cv=5).mean() for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(np.round(shares, 6)))]


def paired(labels: np.ndarray, float_answers: np.ndarray, integer_answers: np.ndarray) -> Paired:
    """The statistics of two lists of answers (n,). Raises ValueError if lengths differ or the lists are empty."""
    if not len(labels) == len(float_answers) == len(integer_answers) or not len(labels):
        raise ValueError(f"{len(labels)} labels, {len(float_answers)} float and {len(integer_answers)} integer answers")
    right, ours = float_answers == labels, integer_answers == labels
    same = float_answers == integer_answers
    float_only, integer_only = int((right & ~ours).sum()), int((ours & ~right).sum())
    discordant = float_only + integer_only
    return Paired(
        images=len(labels),
        top1_float=float(right.mean()), top1_float_interval=wilson(int(right.sum()), len(labels)),
        top1_integer=float(ours.mean()), top1_integer_interval=wilson(int(ours.sum()), len(labels)),
        agreement=float(same.mean()), agreement_interval=wilson(int(same.sum()), len(labels)),
        loss=(float_only - integer_only) / len(labels), loss_interval=_bootstrap(right.astype(int) - ours),
        float_only=float_only, integer_only=integer_only,
        mcnemar_p=float(binomtest(float_only, discordant).pvalue) if discordant else 1.0)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    low, high = binomtest(hits, of).proportion_ci(CONFIDENCE, "wilson")
    return float(low), float(high)


def _probe(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))


def _bootstrap(differences: np.ndarray) -> tuple[float, float]:
    """Percentiles of the mean of ``differences`` (-1, 0 or 1 per picture) over seeded resamples of the pictures.

    A mean only depends on the counts of the three values, and these are multinomial.
    """
    values = np.array([-1, 0, 1])
    shares = (differences[:, None] == values).mean(axis=0)
    drawn = np.random.default_rng(SEED).multinomial(len(differences), shares, RESAMPLES) @ values / len(differences)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
