"""Classifiers on frozen features: nearest neighbours, and linear ones for a grid of learning rates at once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstcl_platform.specs.probes import KnnSpec, LinearProbeSpec
from lstcl_platform.training.schedules import warmup_cosine

_CHUNK = 256
"""Test videos whose similarities to all training videos are held at once."""

HELD_OUT = 5
"""Every fifth training video of a class chooses the learning rate."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Features (N, D) of training videos, float32, and their classes, int64 (N,)."""

    features: Tensor
    labels: Tensor


def knn_probabilities(train: Labelled, test: Tensor, *, num_classes: int, spec: KnnSpec) -> Tensor:
    """Votes of the nearest training videos by cosine similarity s, each weighing exp(s / temperature).

    As DINO's `eval_knn.py` (Wu et al. 2018), which weighs and ranks alike.

    Args:
        train: Videos that vote; where there are fewer than `spec.neighbours`, all of them.
        test: Features (M, D).
        num_classes: Classes K.
        spec: Neighbours and temperature.

    Returns:
        Share of the votes for each class, float32 (M, K).
    """
    bank = F.normalize(train.features)
    count = min(spec.neighbours, len(bank))
    shares = []
    for part in torch.split(F.normalize(test), _CHUNK):
        similarity, nearest = (part @ bank.T).topk(count, dim=1)
        votes = part.new_zeros((len(part), num_classes))
        votes.scatter_add_(1, train.labels[nearest], (similarity / spec.temperature).exp())
        shares.append(votes / votes.sum(1, keepdim=True))
    return torch.cat(shares)


def linear_probabilities(
    train: Labelled, test: Tensor, *, num_classes: int, spec: LinearProbeSpec
) -> tuple[Tensor, float]:
    """Softmax of a linear classifier on standardised features, at the best learning rate of the grid.

    The rate is the one whose classifier, trained on four fifths of each class, is right most often on the
    rest (of equals the lowest); with it one is trained on all. No test label is looked at.

    Args:
        train: Training videos.
        test: Features (M, D).
        num_classes: Classes K.
        spec: Grid and length of the training.

    Returns:
        Probabilities, float32 (M, K), and the chosen rate.
    """
    mean, std = train.features.mean(0), train.features.std(0, correction=0)
    scale = std.clamp_min(1e-6)
    whole = Labelled(features=(train.features - mean) / scale, labels=train.labels)
    held = _held_out(train.labels)
    rates = sorted(spec.learning_rates)
    best = rates[0]
    if len(rates) > 1 and held.any():
        part = Labelled(features=whole.features[~held], labels=whole.labels[~held])
        heads = _train(part, rates, num_classes=num_classes, spec=spec)
        hits = [(head(whole.features[held]).argmax(1) == whole.labels[held]).sum().item() for head in heads]
        best = rates[hits.index(max(hits))]
    (head,) = _train(whole, [best], num_classes=num_classes, spec=spec)
    return head((test - mean) / scale).softmax(1), best


def _held_out(labels: Tensor) -> Tensor:
    """Mask of the videos that are the fifth, tenth... of their class, in the order given."""
    held = torch.zeros_like(labels, dtype=torch.bool)
    for label in set(labels.tolist()):
        held[(labels == label).nonzero()[HELD_OUT - 1 :: HELD_OUT, 0]] = True
    return held


def _train(
    train: Labelled, rates: list[float], *, num_classes: int, spec: LinearProbeSpec
) -> list[nn.Linear]:
    """One linear classifier a learning rate, all over the same batches: SGD, momentum 0.9, cosine to 0."""
    videos, dim = train.features.shape
    device = train.features.device
    heads = [nn.Linear(dim, num_classes, device=device) for _ in rates]
    for head in heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    groups = [{"params": list(head.parameters())} for head in heads]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9, weight_decay=spec.weight_decay)
    batch = min(spec.batch_size, videos)
    total = spec.passes * (videos // batch)
    order = torch.Generator().manual_seed(0)
    step = 0
    for _ in range(spec.passes):
        for rows in (
            torch.randperm(videos, generator=order).to(device)[: videos // batch * batch].view(-1, batch)
        ):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = warmup_cosine(step, total=total, warmup=0, peak=rate * batch / 256)
            features, labels = train.features[rows], train.labels[rows]
            loss = torch.stack([F.cross_entropy(head(features), labels) for head in heads]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            step += 1
    return heads
