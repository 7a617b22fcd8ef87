"""Writes metrics.json: scores, labels and what scikit-learn and numpy make of them. python3 metrics.py"""
import json
import os

import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score, confusion_matrix, roc_auc_score

rng = np.random.default_rng(7)
cases = []
for n, ties in ((40, False), (60, True), (7, True)):
    logits = rng.normal(size=(n, 2)) * 2
    labels = rng.integers(0, 2, n)
    labels[0], labels[1] = 0, 1
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    score = np.round(p[:, 1], 1) if ties else p[:, 1]
    predicted = p.argmax(1)
    confidence, right = p.max(1), predicted == labels
    edges = np.linspace(0, 1, 16)
    ece = 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    cases.append({
        "scores": score.tolist(), "labels": (labels + 1).tolist(), "predictions": (predicted + 1).tolist(),
        "confidence": confidence.tolist(), "auroc": roc_auc_score(labels, score),
        "auprc": average_precision_score(labels, score), "balanced": balanced_accuracy_score(labels, predicted),
        "confusion": confusion_matrix(labels, predicted).tolist(), "ece": ece,
        "brier": float(((p - np.eye(2)[labels]) ** 2).sum(1).mean()), "logits": logits.tolist(),
    })
with open(os.path.join(os.path.dirname(__file__), "metrics.json"), "w") as file:
    json.dump(cases, file, indent=1)
    file.write("\n")
