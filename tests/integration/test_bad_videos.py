"""Bad videos in the stream of a stage: the same samples whatever decodes them, and a stop when storage is away."""

from concurrent.futures import ThreadPoolExecutor
from shutil import copytree

import numpy as np
import pytest

from lstcl_platform.orchestration.causes import cause, is_final
from lstcl_platform.orchestration.cluster import connected
from lstcl_platform.orchestration.deal import Deal
from lstcl_platform.orchestration.ingest import checked_batches, deal_shards
from lstcl_platform.orchestration.ledger import Ledger
from lstcl_platform.orchestration.preflight import DecodeShare
from lstcl_platform.specs.data import DataSpec
from lstcl_platform.specs.model import ModelSpec
from lstcl_platform.specs.training import PretrainSpec
from lstcl_platform.video.indexing import index_videos
from lstcl_platform.video.sample_reads import Patience
from tests.helpers.faults import HEALED, FaultySamples
from tests.helpers.videos import damage, make_video

pytestmark = pytest.mark.cluster

NAMES = ("crash_0", "fine_0", "fine_1", "fine_2", "fine_3", "fine_4", "fine_5", "torn_0")
CRASH, TORN = 0, 7
BATCH, EPOCHS = 4, 2
STEPS = len(NAMES) // BATCH * EPOCHS
PATIENCE = Patience(seconds=20, failures=2)


@pytest.fixture(scope="module")
def cluster(ray_address):
    with connected(ray_address) as capacity:
        yield capacity


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight videos, of which one crashes the decoder and one is torn where indexing does not look."""
    folder = tmp_path_factory.mktemp("bad")
    for number, name in enumerate(NAMES):
        make_video(folder / "class" / f"{name}.mp4", frames=40, side=32, seed=number)
    damage(folder / "class" / "torn_0.mp4")
    manifest = index_videos(folder)
    assert not manifest.problems
    manifest.save(folder / "m.parquet")
    return folder


def samples_of(folder, *, max_bad_fraction=0.5):
    return FaultySamples(
        manifest=folder / "m.parquet",
        data=DataSpec(train="train", val="val", max_bad_fraction=max_bad_fraction),
        model=ModelSpec(name="st_swin_micro", frames=4, image_size=16),
        pretrain=PretrainSpec(batch_size=BATCH),
    )


def received(samples, stage, *, tasks=1, world=1, start_step=0, patience=PATIENCE):
    """Column -> values by position, of all that the ranks of a stage receive through `tasks` decode tasks."""
    deal = Deal(global_batch=BATCH, world=world, start_step=start_step, steps=STEPS)
    placed = DecodeShare(task_cpus=1.5 / tasks, cpus=1.5, object_store_bytes=200_000_000, label_selector={})
    shards = deal_shards(
        samples, deal=deal, share=placed, verdicts=Ledger.open(str(stage)), patience=patience
    )

    def read(rank):
        return list(checked_batches(shards[rank], deal=deal, rank=rank))

    with ThreadPoolExecutor(world) as pool:
        batches = [batch for rank in pool.map(read, range(world)) for batch in rank]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    order = np.argsort(joined.pop("position"))
    joined.pop("seconds")
    return {name: values[order] for name, values in joined.items()}


def assert_equal(one, other, *, skip=0):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values[skip:], other[name], err_msg=name)


def test_the_same_samples_for_any_tasks_and_workers_and_after_a_resume(cluster, videos, tmp_path):
    samples = samples_of(videos)
    whole = received(samples, tmp_path / "one")
    planned = samples.plan.locate(np.arange(STEPS * BATCH))[1]
    bad = np.array([bool(text) for text in whole["bad"]])
    assert bad.tolist() == np.isin(planned, (CRASH, TORN)).tolist()
    assert (
        sum("crash_0.mp4: crashes the decoder: its process ended with -11" in t for t in whole["bad"])
        >= EPOCHS
    )
    assert all(len(set(step)) == BATCH for step in whole["video"].reshape(-1, BATCH).tolist())
    assert not np.isin(whole["video"], (CRASH, TORN)).any()

    ledger = Ledger(str(tmp_path / "one"))
    found = [(bad.row, bad.epoch if bad.settled else None) for bad in ledger.verdicts()]
    assert sorted(found, key=str) == sorted([(CRASH, 0), (CRASH, 1), (TORN, None)], key=str)

    assert_equal(whole, received(samples, tmp_path / "two", tasks=2, world=2))
    assert_equal(whole, received(samples, tmp_path / "three", tasks=3))
    for name in ("two", "three"):
        other = Ledger(str(tmp_path / name))
        assert other.effective_digest(samples.digest) == ledger.effective_digest(samples.digest)

    # The second epoch begins at step 2. The video is sound now, but the stage goes on as it had begun.
    (videos / HEALED).touch()
    try:
        assert_equal(whole, received(samples, tmp_path / "one", tasks=3, world=2, start_step=1), skip=BATCH)
    finally:
        (videos / HEALED).unlink()


def test_a_hang_is_found_and_replaced(cluster, videos, tmp_path):
    folder = copytree(videos, tmp_path / "set")
    (folder / "class" / "crash_0.mp4").rename(folder / "class" / "hang_0.mp4")
    index_videos(folder).save(folder / "m.parquet")
    samples = samples_of(folder)
    # No epoch but the first: each hang is waited for three times.
    whole = received(
        samples, tmp_path / "stage", start_step=STEPS // 2, patience=Patience(seconds=4, failures=1)
    )
    assert sum("hang_0.mp4: hangs the decoder" in text for text in whole["bad"]) >= 1


@pytest.mark.parametrize("problem", ["storage", "fraction"])
def test_what_stops_the_run_says_why(cluster, videos, tmp_path, problem):
    folder = copytree(videos, tmp_path / "set")
    (folder / HEALED).touch()
    samples = samples_of(folder, max_bad_fraction=0.5 if problem == "storage" else 0.1)
    if problem == "storage":
        (folder / "class").rename(tmp_path / "away")
    with pytest.raises(Exception, match=r"max_bad_fraction|cannot be read") as raised:
        received(samples, tmp_path / "stage")
    text = cause(raised.value)
    if problem == "storage":
        assert "cannot be read (No such file or directory)" in text
        assert "No video was replaced" in text
        assert not Ledger(str(tmp_path / "stage")).verdicts()
    else:
        assert "1 of 8 videos cannot be used, more than data.max_bad_fraction (0.1) allows" in text
        assert is_final(raised.value)
