"""Clips of training and of test videos in one stream, for protocols that compare frozen features."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import EvaluateSpec, Indexing, Timing
from lstcl_platform.video.sample_reads import Read, read_checked
from lstcl_platform.video.samples import Batch, EvaluateSamples

TRAIN_SPLIT, TEST_SPLIT = 0, 1


class ProbeSamples:
    """The test clips of every usable training video, then of every usable test video, then padding."""

    def __init__(
        self,
        *,
        train_manifest: str | Path,
        test_manifest: str | Path,
        data: DataSpec,
        model: ModelSpec,
        evaluate: EvaluateSpec,
        stride: Timing,
        indexing: Indexing = "exact",
    ) -> None:
        """Check both manifests; arguments and errors as `EvaluateSamples`."""
        self.train, self.test = (
            EvaluateSamples(
                manifest=manifest, data=data, model=model, evaluate=evaluate, stride=stride, indexing=indexing
            )
            for manifest in (train_manifest, test_manifest)
        )
        self.videos = self.train.videos + self.test.videos
        self.num_classes = self.train.num_classes

    @property
    def digest(self) -> str:
        """Of both manifests."""
        return hashlib.sha256(f"{self.train.digest}\n{self.test.digest}".encode()).hexdigest()

    def __call__(self, positions: npt.NDArray[np.int64], *, read: Read = read_checked) -> Batch:
        """Decode the clips of the videos at `positions`.

        Returns:
            As `EvaluateSamples`, with split int64 (B,): `TRAIN_SPLIT` or `TEST_SPLIT` (padding too). A training
            video that cannot be decoded is not replaced either.
        """
        is_test = positions >= self.train.videos
        parts = []
        for split, samples, chosen, first in (
            (TRAIN_SPLIT, self.train, ~is_test, 0),
            (TEST_SPLIT, self.test, is_test, self.train.videos),
        ):
            if chosen.any():
                part = samples(positions[chosen] - first, read=read)
                parts.append(part | {"split": np.full(len(part["video"]), split, dtype=np.int64)})
        order = np.argsort(np.argsort(is_test, kind="stable"), kind="stable")
        batch = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
        return batch | {"position": positions}
