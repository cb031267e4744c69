"""What a stage attempt is told, and what each kind of stage reads."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import MAX_CHUNKS_AN_EXECUTOR
from lstcl_platform.orchestration.preflight import Placement
from lstcl_platform.specs.run import CheckpointSpec
from lstcl_platform.specs.stages import TESTS, Stage
from lstcl_platform.storage import join
from lstcl_platform.video.probe_samples import ProbeSamples
from lstcl_platform.video.samples import EvaluateSamples, FinetuneSamples, PretrainSamples

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Samples = PretrainSamples | FinetuneSamples | EvaluateSamples | ProbeSamples


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """Everything that one attempt of a stage needs; small, and pickled to its processes.

    Attributes:
        stage: the stage.
        train_manifest: path of the manifest of the labelled training videos, or for a pretraining of its own.
        val_manifest: path of the evaluation videos' manifest.
        stage_dir: folder or URI of the stage; attempts are `a1`, `a2`, ... below it.
        placement: resources.
        checkpoint: when to save.
        log_every_steps: steps between two rows of metrics.
        board: where events go.
        profile_steps: first and last step that rank 0 profiles, or None.
        allow_numerics_change: go on from a checkpoint written under another numerics fingerprint.
        attempt: number of the attempt; 0 before one is claimed.
        resume_from: URI of the checkpoint to go on from, or None.
        start_step: step of that checkpoint.
        parent_weights: URI of the parent's final weights, or None.
        parent_sha256: their recorded digest, or None.
        rung_checkpoint: URI of the last checkpoint of a finished stage that trains the same for fewer epochs, from
            which to go on where the stage has none of its own that is further; or None.
        longer_dirs: folders of stages that train the same for more epochs; checkpoints of theirs that lie within this
            stage count as its own.
    """

    stage: Stage
    train_manifest: str
    val_manifest: str
    stage_dir: str
    placement: Placement
    checkpoint: CheckpointSpec
    log_every_steps: int
    board: "ActorHandle | Any"
    profile_steps: tuple[int, int] | None = None
    allow_numerics_change: bool = False
    attempt: int = 0
    resume_from: str | None = None
    start_step: int = 0
    parent_weights: str | None = None
    parent_sha256: str | None = None
    rung_checkpoint: str | None = None
    longer_dirs: tuple[str, ...] = ()

    @property
    def attempt_dir(self) -> str:
        """Folder or URI of this attempt."""
        return join(self.stage_dir, f"a{self.attempt}")

    def with_attempt(self, attempt: int, *, resume_from: str | None, start_step: int) -> "StageJob":
        """The same job as attempt number `attempt`."""
        return replace(self, attempt=attempt, resume_from=resume_from, start_step=start_step)


def collective_seconds(job: StageJob) -> float:
    """How long a worker of the stage waits for the others."""
    return 60 * job.stage.spec.resources.collective_timeout_minutes


def trained_on(stage: Stage) -> str:
    """Resolved path of the data behind the `train_manifest` of a stage's job."""
    data = stage.spec.data
    return data.pretraining if stage.kind == "pretrain" else data.train


def samples_of(job: StageJob) -> Samples:
    """What turns positions into the samples of this stage."""
    spec = job.stage.spec
    if job.stage.kind == "pretrain":
        assert spec.pretrain is not None
        return PretrainSamples(
            manifest=job.train_manifest, data=spec.data, model=spec.model, pretrain=spec.pretrain
        )
    if job.stage.kind == "finetune":
        return FinetuneSamples(
            manifest=job.train_manifest, data=spec.data, model=spec.model, finetune=spec.finetune
        )
    stride, indexing = spec.evaluate.stride or spec.finetune.stride, spec.finetune.indexing
    if job.stage.kind == "probe":
        return ProbeSamples(
            train_manifest=job.train_manifest,
            test_manifest=job.val_manifest,
            data=spec.data,
            model=spec.model,
            evaluate=spec.evaluate,
            stride=stride,
            indexing=indexing,
        )
    return EvaluateSamples(
        manifest=job.val_manifest,
        data=spec.data,
        model=spec.model,
        evaluate=spec.evaluate,
        stride=stride,
        indexing=indexing,
    )


def deal_of(job: StageJob, samples: Samples) -> Deal:
    """How many steps the stage takes, and how positions are dealt to its workers."""
    spec, world = job.stage.spec, job.placement.workers
    if isinstance(samples, EvaluateSamples | ProbeSamples):
        batch = spec.resources.evaluate_batch_size * world
        return Deal(global_batch=batch, world=world, steps=-(-samples.videos // batch))
    block = spec.pretrain if job.stage.kind == "pretrain" else spec.finetune
    assert block is not None
    return Deal(
        global_batch=block.batch_size,
        world=world,
        accumulation=getattr(block, "accumulation_steps", 1),
        start_step=job.start_step,
        steps=samples.plan.steps_per_epoch * (job.stage.until or block.epochs),
    )


def pause_step(job: StageJob, deal: Deal) -> int | None:
    """Step after which an attempt makes way for the next one, and with it for a new executor.

    None for a test of a model, which keeps no state to go on from.
    """
    if job.stage.kind in TESTS:
        return None
    return deal.start_step + max(1, MAX_CHUNKS_AN_EXECUTOR // (deal.chunks_per_batch * deal.world))
