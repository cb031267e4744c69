"""k-NN votes and linear probes on features made by hand."""

import math

import pytest
import torch

from lstcl_platform.specs.probes import KnnSpec, LinearProbeSpec
from lstcl_platform.training.frozen import Labelled, knn_probabilities, linear_probabilities


def test_votes_weigh_by_cosine_similarity():
    train = Labelled(
        features=torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 5.0], [-1.0, 0.0]]),
        labels=torch.tensor([0, 1, 1, 2]),
    )
    (shares,) = knn_probabilities(
        train, torch.tensor([[10.0, 0.0]]), num_classes=4, spec=KnnSpec(neighbours=3, temperature=0.5)
    ).tolist()
    first, second = math.exp(1 / 0.5), math.exp(0.6 / 0.5) + math.exp(0)
    assert shares == pytest.approx([first / (first + second), second / (first + second), 0, 0], rel=1e-6)


def test_with_fewer_videos_than_neighbours_all_vote():
    train = Labelled(features=torch.eye(2), labels=torch.tensor([0, 1]))
    shares = knn_probabilities(train, torch.tensor([[1.0, 1.0]]), num_classes=2, spec=KnnSpec(neighbours=20))
    assert shares[0].tolist() == pytest.approx([0.5, 0.5])


def test_many_test_videos_are_scored_one_by_one():
    generator = torch.Generator().manual_seed(0)
    train = Labelled(features=torch.randn(40, 5, generator=generator), labels=torch.arange(40) % 3)
    test = torch.randn(600, 5, generator=generator)
    whole = knn_probabilities(train, test, num_classes=3, spec=KnnSpec())
    for row in (0, 255, 256, 599):
        alone = knn_probabilities(train, test[row : row + 1], num_classes=3, spec=KnnSpec())
        torch.testing.assert_close(whole[row : row + 1], alone)


def clusters(count: int, *, seed: int, classes: int = 3) -> Labelled:
    """Classes that differ in direction, in features of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.eye(classes, 6) * 3
    features = centres[labels] + torch.randn(count, 6, generator=generator)
    return Labelled(features=features * torch.tensor([1.0, 1e-3, 1e3, 1, 1, 1]) + 50, labels=labels)


def test_a_linear_probe_learns_what_is_linear():
    test = clusters(90, seed=1)
    scores, rate = linear_probabilities(
        clusters(60, seed=0), test.features, num_classes=3, spec=LinearProbeSpec(passes=20, batch_size=16)
    )
    assert (scores.argmax(1) == test.labels).float().mean() > 0.9
    torch.testing.assert_close(scores.sum(1), torch.ones(90))
    assert rate in LinearProbeSpec().learning_rates


def hidden_in_noise(count: int, *, seed: int) -> Labelled:
    """Two classes that only the difference of two noisy features tells apart: that takes time to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    noise = 3 * torch.randn(count, generator=generator)
    return Labelled(features=torch.stack([noise + labels, noise], dim=1), labels=labels)


def test_the_rate_is_chosen_on_held_out_training_videos():
    train, test = hidden_in_noise(80, seed=0), hidden_in_noise(80, seed=1)
    spec = LinearProbeSpec(learning_rates=(30.0, 1e-4), passes=60, batch_size=16)
    scores, rate = linear_probabilities(train, test.features, num_classes=2, spec=spec)
    assert rate == 30.0
    assert (scores.argmax(1) == test.labels).float().mean() > 0.95
    alone = spec.model_copy(update={"learning_rates": (30.0,)})
    expected, _ = linear_probabilities(train, test.features, num_classes=2, spec=alone)
    assert torch.equal(scores, expected)  # the others in the grid leave no trace


def test_classes_with_too_few_videos_to_hold_out_take_the_lowest_rate():
    train = clusters(9, seed=0)
    _, rate = linear_probabilities(
        train, train.features, num_classes=3, spec=LinearProbeSpec(learning_rates=(0.3, 0.1), passes=2)
    )
    assert rate == 0.1


def test_the_result_does_not_depend_on_the_generator():
    train, test = clusters(60, seed=0), clusters(30, seed=1).features
    spec = LinearProbeSpec(passes=3, batch_size=16)
    torch.manual_seed(4)
    first, _ = linear_probabilities(train, test, num_classes=3, spec=spec)
    torch.manual_seed(5)
    second, _ = linear_probabilities(train, test, num_classes=3, spec=spec)
    assert torch.equal(first, second)
