import pytest

from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import MAX_CHUNKS_AN_EXECUTOR
from lstcl_platform.orchestration.job import StageJob, pause_step
from lstcl_platform.orchestration.preflight import DecodeShare, Placement
from lstcl_platform.orchestration.worker import BoardReporter
from lstcl_platform.specs.run import CheckpointSpec
from tests.tracking.conftest import make_stage

DEAL = Deal(global_batch=64, world=2, start_step=100, steps=10**7)
PLACEMENT = Placement(
    workers=2,
    worker_cpus=1.0,
    worker_gpus=0.0,
    label_selector={},
    decode=DecodeShare(task_cpus=1.0, cpus=1.0, object_store_bytes=1 << 28, label_selector={}),
    concurrent=1,
)


def job(kind):
    return StageJob(
        stage=make_stage("s", kind=kind),
        train_manifest="",
        val_manifest="",
        stage_dir="",
        placement=PLACEMENT,
        checkpoint=CheckpointSpec(),
        log_every_steps=1,
        board=None,
    )


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_a_training_attempt_ends_before_its_executor_has_handed_on_too_many_chunks(kind):
    step = pause_step(job(kind), DEAL)
    assert (step - DEAL.start_step) * DEAL.chunks_per_batch * DEAL.world == MAX_CHUNKS_AN_EXECUTOR
    reporter = BoardReporter(job(kind), rank=1, pause_step=step)
    reporter.close()  # a watchdog would outlive the test, and find no board
    assert reporter.should_stop(step)


@pytest.mark.parametrize("kind", ["evaluate", "probe"])
def test_a_test_of_a_model_is_never_paused(kind):
    assert pause_step(job(kind), DEAL) is None
