"""Effects of a study: by hand, against scipy, scikit-learn and statsmodels, and their intervals' coverage."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_power

from attnlab.study import effects
from attnlab.study.effects import auroc, auroc_interval, compare, compare_pairs, detectable, holm, permutation_p, power

FIRST, SECOND = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.4, 0.2, 0.3])


def test_an_effect_by_hand():
    found = compare(FIRST, SECOND)
    assert found[:5] == pytest.approx((4, 3, 0.45, 0.3, 0.15))
    # of 12 pairs the first is higher in 2 + 2 + 3, lower in 3, and 2 are ties
    assert found.cliffs_delta == pytest.approx((7 - 3) / 12)
    assert found.auroc == pytest.approx((7 + 2 / 2) / 12)
    assert found.error == pytest.approx(np.sqrt(FIRST.var(ddof=1) / 4 + SECOND.var(ddof=1) / 3))


def test_the_auroc_equals_scikit_learn():
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.3, 1, 40).round(1), draw.normal(0, 1, 60).round(1)
    labels = np.repeat([1, 0], [40, 60])
    assert auroc(first, second) == pytest.approx(roc_auc_score(labels, np.concatenate([first, second])))


def delong_slowly(first, second):
    """Variance of the AUROC as DeLong et al. 1988 write it, pair by pair."""
    psi = np.array([[(x > y) + 0.5 * (x == y) for y in second] for x in first])
    return psi.mean(1).var(ddof=1) / len(first) + psi.mean(0).var(ddof=1) / len(second)


def test_the_interval_of_the_auroc_is_delongs():
    draw = np.random.default_rng(1)
    first, second = draw.normal(0.5, 1, 30).round(1), draw.normal(0, 1, 25).round(1)
    area = auroc(first, second)
    error = np.sqrt(delong_slowly(first, second)) / (area * (1 - area))
    ends = 1 / (1 + np.exp(-(np.log(area / (1 - area)) + np.array([-1, 1]) * 1.959964 * error)))
    assert auroc_interval(first, second) == pytest.approx(tuple(ends))
    assert np.isnan(auroc_interval(np.array([1.0, 2.0]), np.array([0.0, 0.5]))).all()


def test_a_p_value_is_the_share_of_all_permutations():
    values = np.concatenate([FIRST, SECOND])
    found = abs(FIRST.mean() - SECOND.mean())
    differences = []
    for chosen in combinations(range(7), 4):
        others = [place for place in range(7) if place not in chosen]
        differences.append(abs(values[list(chosen)].mean() - values[others].mean()))
    assert permutation_p(FIRST, SECOND) == pytest.approx(np.mean(np.array(differences) >= found - 1e-12))


def test_a_p_value_of_pairs_is_the_share_of_all_signs():
    differences = np.array([0.3, -0.1, 0.2, 0.4, 0.1])
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=5)]
    share = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
    assert effects.sign_flip_p(differences) == pytest.approx(share)
    assert effects.sign_flip_p(np.array([*differences, 0.0])) == pytest.approx(share)  # no change is no evidence


def test_a_mean_among_the_values_leaves_the_p_value_of_all_permutations():
    # deviations from 2 are -2 ... 2: of ten pairs {0, 1} and {3, 4} alone lie as far out
    assert permutation_p(np.array([0.0, 1]), np.array([2.0, 3, 4])) == pytest.approx(2 / 10)
    assert permutation_p(np.array([7.0, 7]), np.array([7.0, 7])) == 1


def test_two_pairs_have_a_p_value_and_one_has_none():
    assert effects.sign_flip_p(np.array([1.0, 2])) == 2 / 4
    assert effects.sign_flip_p(np.array([0.0, 0])) == 1
    assert np.isnan(effects.sign_flip_p(np.array([1.0])))


def test_the_found_signs_are_one_of_those_drawn():
    # 40 differences of one sign: one in 2^39 draws lies as far out
    assert effects.sign_flip_p(np.ones(40)) == 1 / 10_000


def test_the_normal_limit_of_signs_by_hand():
    """The sum of 3,000 of +1, 2,900 of -1 and 800 of 1/2 is 500 and varies by 5,900 + 200."""
    differences = np.repeat([1, -1, 0.5], [3_000, 2_900, 800])
    assert effects.sign_flip_p(differences) == pytest.approx(2 * stats.norm.sf(500 / np.sqrt(6_100)))


def test_drawn_permutations_agree_with_scipys():
    draw = np.random.default_rng(2)
    first, second = draw.exponential(1, 60), draw.exponential(1.4, 80)

    def difference(one, other, axis):
        return np.abs(one.mean(axis) - other.mean(axis))

    theirs = stats.permutation_test(
        (first, second), difference, n_resamples=9_999, vectorized=True, rng=0, alternative="greater"
    )
    assert permutation_p(first, second) == pytest.approx(theirs.pvalue, abs=0.01)


def test_the_normal_limit_continues_the_permutations(monkeypatch):
    draw = np.random.default_rng(3)
    first, second = draw.uniform(0.05, 1, 300), draw.uniform(0, 1, 400)
    drawn = permutation_p(first, second), effects.sign_flip_p(first - second[:300])
    monkeypatch.setattr(effects, "MANY", 200)
    assert permutation_p(first, second) == pytest.approx(drawn[0], abs=0.01)
    assert effects.sign_flip_p(first - second[:300]) == pytest.approx(drawn[1], abs=0.01)


def test_holm_equals_statsmodels_and_leaves_out_what_is_not_known():
    p = [0.01, 0.2, np.nan, 0.04, 0.03, 0.9]
    known = [value for value in p if not np.isnan(value)]
    expected = multipletests(known, method="holm")[1]
    corrected = holm(p)
    assert np.isnan(corrected[2])
    np.testing.assert_allclose(corrected[~np.isnan(corrected)], expected)


def test_power_equals_statsmodels_and_is_what_is_detectable():
    assert power(0.02, 0.05, 4) == pytest.approx(normal_power(0.05 / 0.02, 1, 0.05 / 4), abs=1e-9)
    assert power(0.02, detectable(0.02, 4), 4) == pytest.approx(0.8, abs=1e-4)
    assert np.isnan([power(0.0, 0.05, 1), detectable(0.0, 1), detectable(np.nan, 1)]).all()


def test_power_is_how_often_a_difference_is_seen():
    draw = np.random.default_rng(14)
    first, second = draw.normal(0.5, 1, (400, 50)), draw.normal(0, 1, (400, 70))
    seen = np.mean([permutation_p(*both) < 0.05 for both in zip(first, second, strict=True)])
    assert seen == pytest.approx(power(np.sqrt(1 / 50 + 1 / 70), 0.5, 1), abs=0.05)


def test_pairs_are_compared_value_by_value():
    first, second = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.0, 2.0, 1.0, 1.0])
    found = compare_pairs(first, second)
    assert found.difference == pytest.approx(7 / 4)
    assert found.error == pytest.approx(np.std([1, 0, 2, 4], ddof=1) / 2)
    assert found.p == pytest.approx(2 / 8)  # three differences that are not 0, all above it
    # of 16 pairs of values the first is higher in 1 + 3 + 4 + 4, lower in 1, and 3 are ties
    assert found.cliffs_delta == pytest.approx((12 - 1) / 16)


def test_an_empty_group_has_no_effect():
    found = compare(np.array([]), SECOND)
    assert found[:2] == (0, 3)
    assert np.isnan(found[4:]).all()
    pairs = compare_pairs(np.array([]), np.array([]))
    assert pairs[:2] == (0, 0)
    assert np.isnan(pairs[2:]).all()


def coverage(runs: int, sizes: tuple[int, int] = (150, 300)) -> dict[str, float]:
    """Share of simulated runs whose intervals hold the truth: IoUs of two groups, of known mean and AUROC."""
    draw, held = np.random.default_rng(5), {"difference": 0, "auroc": 0, "pairs": 0}
    shapes = ((6, 3), (5, 3.5))
    truth = np.subtract(*(a / (a + b) for a, b in shapes))
    large = [draw.beta(*shape, 400_000) for shape in shapes]
    area = auroc(*large)
    for _ in range(runs):
        first, second = (draw.beta(*shape, size) for shape, size in zip(shapes, sizes, strict=True))
        found = compare(first, second)
        held["difference"] += found.ci_low <= truth <= found.ci_high
        held["auroc"] += found.auroc_low <= area <= found.auroc_high
        noise = draw.normal(0, 0.1, sizes[0])
        both = compare_pairs(first + 0.05 + noise, first)
        held["pairs"] += both.ci_low <= 0.05 <= both.ci_high
    return {name: count / runs for name, count in held.items()}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    assert all(0.8 <= share <= 1 for share in coverage(25).values())


@pytest.mark.slow
def test_intervals_hold_the_truth_in_93_to_97_of_a_hundred_runs():
    assert all(0.93 <= share <= 0.97 for share in coverage(1_000).values())
