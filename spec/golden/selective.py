#!/usr/bin/env python3
"""Computes what spec/selective/golden_spec.lua compares with: python3 spec/golden/selective.py > spec/golden/selective.json

Random probabilities of two models, some of them equal, and every selective metric of them in plain numpy; binomial
bounds in rational arithmetic. Needs numpy.
"""
import json
from fractions import Fraction
from math import ceil, comb, log2

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def threshold(scores, coverage):
    """gamma and the number kept; None where that is 0, or where equal scores make the number impossible."""
    ordered = np.sort(scores)[::-1]
    kept = int(np.floor(coverage * len(scores) + 0.5))
    gamma = ordered[kept] if kept < len(scores) else -np.inf
    return (float(gamma), kept) if kept > 0 and (scores > gamma).sum() == kept else None


def risk_coverage(scores, wrong):
    points = []
    for score in np.unique(scores)[::-1]:
        keep = scores >= score
        points.append([float(keep.mean()), float(wrong[keep].mean())])
    aurc = np.mean([wrong[scores >= s].mean() for s in scores])
    return points, float(aurc)


def binomial_bound(errors, count, delta):
    """The p with P(Binomial(count, p) <= errors) = delta, to 2^-60, without rounding."""
    if errors == count:
        return 1.0
    low, high = Fraction(0), Fraction(1)
    for _ in range(60):
        p = (low + high) / 2
        tail = sum(comb(count, j) * p**j * (1 - p) ** (count - j) for j in range(errors + 1))
        low, high = (p, high) if tail > Fraction(delta) else (low, p)
    return float(high)


def sgr(scores, wrong, risk, delta):
    ordered = np.sort(scores)[::-1]
    steps = ceil(log2(len(scores) + 1))
    fewest, most, found = 0, len(scores) + 1, None
    while most - fewest > 1:
        place = (fewest + most) // 2
        keep = scores >= ordered[place - 1]
        bound = binomial_bound(int(wrong[keep].sum()), int(keep.sum()), delta / steps)
        if bound <= risk:
            found = {"threshold": float(ordered[place - 1]), "bound": bound, "covered": int(keep.sum())}
            fewest = int(keep.sum())
        else:
            most = place
    return found


def case(rng, count, classes, levels):
    """levels: logits are rounded to so many steps a unit, which makes ties."""
    labels = rng.integers(0, classes, count)
    models = []
    for noise in (1.5, 2.0):
        logits = noise * rng.standard_normal((count, classes))
        logits[np.arange(count), labels] += 2.5
        models.append(softmax(np.round(logits * levels) / levels))
    initial, final = models
    products = initial * final
    answers = {
        "softmax_response": (initial.argmax(1), initial.max(1)),
        "product": (products.argmax(1), products.max(1)),
        "softmax_product": (products.argmax(1), softmax(products).max(1)),
        "agreement": (initial.argmax(1), (initial.argmax(1) == final.argmax(1)).astype(float)),
    }
    result = {"labels": (labels + 1).tolist(), "initial": initial.tolist(), "final": final.tolist(), "answers": {}}
    for name, (predictions, scores) in answers.items():
        wrong = predictions != labels
        points, aurc = risk_coverage(scores, wrong)
        thresholds = []
        for coverage in (0.1, 0.5, 0.8, 0.85, 0.9, 0.95, 1.0):
            found = threshold(scores, coverage)
            entry = {"coverage": coverage, "possible": found is not None}
            if found is not None:
                keep = scores > found[0]
                entry.update(kept=found[1], errors=int(wrong[keep].sum()))
            thresholds.append(entry)
        e = wrong.mean()
        result["answers"][name] = {
            "predictions": (predictions + 1).tolist(),
            "scores": scores.tolist(),
            "points": points,
            "aurc": aurc,
            "e_aurc": aurc - float(e + (1 - e) * np.log1p(-e)),
            "thresholds": thresholds,
            "sgr": [sgr(scores, wrong, risk, 0.05) or {} for risk in (0.02, 0.2, 0.35)],
        }
    return result


def main():
    rng = np.random.default_rng(4)
    bounds = [
        [errors, count, delta, binomial_bound(errors, count, delta)]
        for errors, count in ((0, 1), (0, 100), (1, 1), (1, 2), (3, 17), (50, 100), (99, 100), (7, 400))
        for delta in (0.001, 0.05, 0.4)
    ]
    cases = [case(rng, count, classes, levels) for count, classes, levels in ((40, 3, 0.5), (60, 4, 1000.0), (1, 2, 1.0))]
    print(json.dumps({"bounds": bounds, "cases": cases}))


main()
