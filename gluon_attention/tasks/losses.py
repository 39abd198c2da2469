"""Losses and scores that tasks share, per sample; the engine averages them."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from mxnet import nd

from ..ops.safe import detach

Losses = Dict[str, nd.NDArray]  # {name: (N,)}
PREDICTED = "predicted"  # name of the score that holds the predicted class


def smooth_labels(labels: nd.NDArray, classes: int, smoothing: float) -> nd.NDArray:
    """Smoothed targets (N, classes): eps / K for each of K classes, 1 - eps more for the label."""
    rest = smoothing / classes
    return nd.one_hot(labels, classes, on_value=1 - smoothing + rest, off_value=rest)


def cross_entropy(logits: nd.NDArray, targets: nd.NDArray) -> nd.NDArray:
    """Cross entropy of logits and target distributions, both (N, classes), per sample (N,)."""
    return -(nd.log_softmax(logits.astype("float32")) * targets).sum(axis=1)


def mean_cross_entropy(logits: nd.NDArray, targets: nd.NDArray) -> nd.NDArray:
    """The mean over several heads or steps (N, A, classes), per sample (N,)."""
    count = logits.shape[1]
    return nd.add_n(*(cross_entropy(logits[:, k], targets) for k in range(count))) / count


def is_top1(logits: nd.NDArray, labels: nd.NDArray) -> nd.NDArray:
    """1 where the largest of the logits (N, classes) is that of the label, else 0: (N,)."""
    return logits.detach().argmax(axis=1) == labels.astype("float32")


def top1_scores(logits: nd.NDArray, labels: nd.NDArray) -> Losses:
    """The class with the largest of the logits (N, classes), and whether it is the label."""
    predicted = logits.detach().argmax(axis=1)
    return {"accuracy": predicted == labels.astype("float32"), PREDICTED: predicted}


def top_scores(logits: nd.NDArray, labels: nd.NDArray) -> Losses:
    """Top-1, top-5 where there are more than five classes, and the cross entropy, each (N,)."""
    logits, labels = logits.astype("float32"), labels.astype("float32")
    scores = top1_scores(logits, labels)
    if logits.shape[1] > 5:
        best = logits.topk(axis=1, k=5)  # (N, 5)
        scores["top5"] = nd.broadcast_equal(best, labels.expand_dims(1)).max(axis=1)
    scores["cross_entropy"] = -nd.log_softmax(logits).pick(labels)
    return scores


def reinforce_terms(
    F: Any, rewards: Any, baselines: Any, means: Any, noise: Any, std: float
) -> Tuple[Any, Any]:
    """REINFORCE with a learned baseline, for T locations drawn from normal distributions.

    Args:
        rewards: of the locations, (N, T).
        baselines: rewards expected before each location was drawn, (N, T).
        means: of the distributions, (N, T, 2).
        noise: that was added to the means, (N, T, 2); all gradients flow through the means.
        std: standard deviation of the distributions.

    Returns:
        the squared error of the baseline, (N,), and the loss of each location, (N, T): -log p of
        the location, up to a constant, times the advantage. A gradient step on it raises the
        probability of locations with more reward than expected.
    """
    advantage = rewards - baselines
    locations = detach(F, means + noise)  # before they were clipped to the image
    neg_log_p = F.sum(F.square((locations - means) / std), axis=2) / 2
    return F.mean(F.square(advantage), axis=1), neg_log_p * detach(F, advantage)
