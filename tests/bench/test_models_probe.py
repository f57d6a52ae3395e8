# SPDX-License-Identifier: Apache-2.0
"""Statistics of two answers to the same pictures, against counts by hand and published intervals."""

import numpy as np
import pytest

from moevit.bench.models.probe import STRENGTHS, choose, fit, paired, wilson


def answers(both, float_only, integer_only, neither):
    """Labels and answers with the given number of pictures of each kind. Where both are wrong, they agree."""
    kinds = np.repeat([0, 1, 2, 3], [both, float_only, integer_only, neither])
    return np.ones(len(kinds), int), np.isin(kinds, (0, 1)).astype(int), np.isin(kinds, (0, 2)).astype(int)


def test_counts():
    found = paired(*answers(80, 6, 3, 11))
    assert (found.images, found.float_only, found.integer_only) == (100, 6, 3)
    assert (found.top1_float, found.top1_integer, found.agreement) == (0.86, 0.83, 0.91)
    assert found.loss == pytest.approx(0.03)
    # Two-sided exact test of 3 or fewer of 9: 2 (1 + 9 + 36 + 84) / 512.
    assert found.mcnemar_p == pytest.approx(260 / 512)


def test_wrong_in_different_ways_is_not_the_same_answer():
    found = paired(np.array([0, 0]), np.array([1, 0]), np.array([2, 0]))
    assert (found.top1_float, found.top1_integer, found.agreement, found.loss) == (0.5, 0.5, 0.5, 0.0)


def test_wilson():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(20, 20)[1] == 1.0 and wilson(20, 20)[0] == pytest.approx(0.8389, abs=5e-5)


def test_the_bootstrap_is_about_the_loss_and_seeded():
    found = paired(*answers(800, 60, 30, 110))
    low, high = found.loss_interval
    error = 1.96 * np.sqrt((90 - 30**2 / 1000) / 1000**2)  # normal, of a paired difference
    assert low == pytest.approx(0.03 - error, abs=1.5e-3) and high == pytest.approx(0.03 + error, abs=1.5e-3)
    assert paired(*answers(800, 60, 30, 110)) == found


def test_the_same_answers_lose_nothing():
    found = paired(*answers(90, 0, 0, 10))
    assert (found.loss, found.loss_interval, found.agreement, found.mcnemar_p) == (0.0, (0.0, 0.0), 1.0, 1.0)


def test_answers_of_other_pictures_are_refused():
    with pytest.raises(ValueError, match="3 labels, 3 float and 2 integer"):
        paired(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="0 labels"):
        paired(np.zeros(0), np.zeros(0), np.zeros(0))


def test_probe_finds_what_is_linear():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = rng.normal(size=(300, 8)) * 1e-3  # standardised: small differences count as large ones
    features[:, 0] += 0.01 * labels
    probe = fit(features[:200], labels[:200], 1.0)
    assert (probe.predict(features[200:]) == labels[200:]).mean() > 0.95


def test_of_penalties_that_do_as_well_the_strongest_is_chosen():
    labels = np.arange(100) % 2
    assert choose(np.repeat(labels[:, None], 4, axis=1).astype(float), labels) == STRENGTHS[0]


def test_a_penalty_that_does_better_is_chosen():
    labels, rng = np.arange(200) % 2, np.random.default_rng(0)
    features = rng.normal(size=(200, 50))
    features[:, 0] = 3 * labels  # one informative channel; a strong penalty uses all
    assert choose(features, labels) > STRENGTHS[0]
