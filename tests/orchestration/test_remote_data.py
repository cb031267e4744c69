"""What a launch does with data and storage in a bucket before Ray starts, and how storage that fails is told."""

import pickle

import numpy as np

from lstcl_platform.orchestration.baselines import launch_baselines
from lstcl_platform.orchestration.causes import cause, is_final
from lstcl_platform.orchestration.prepare import prepare_data
from lstcl_platform.specs import expand, load_experiment
from lstcl_platform.specs.errors import StorageError
from lstcl_platform.storage.objects import client
from lstcl_platform.tracking.location import storage_folder
from lstcl_platform.video.samples import PretrainSamples
from tests.helpers.s3 import BUCKET
from tests.helpers.study import make_study_videos, study_values, write_spec


class Messages:
    def __init__(self):
        self.texts = []

    def message(self, text):
        self.texts.append(text)


def prepared(spec):
    experiment = load_experiment(spec)
    storage = storage_folder(experiment.storage)
    trials, view = expand(experiment).trials, Messages()
    data = prepare_data(trials, storage=storage, view=view)
    return trials, data, launch_baselines(trials, data, storage=storage, view=view), view.texts


def test_data_and_storage_in_a_bucket_give_the_samples_and_keys_of_the_disk(s3, bucket, tmp_path):
    videos = make_study_videos(tmp_path / "videos")
    for path in sorted(videos.rglob("*.mp4")):
        key = f"{bucket}/videos/{path.relative_to(videos).as_posix()}".removeprefix(f"s3://{BUCKET}/")
        s3.client().put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    fields = {
        "data__train": f"{bucket}/videos/train",
        "data__val": f"{bucket}/videos/val",
        "tracking__uri": f"sqlite:///{tmp_path}/mlflow.db",
    }
    remote_spec = write_spec(tmp_path / "remote.yaml", study_values(videos, f"{bucket}/runs", **fields))
    trials, data, baselines, said = prepared(remote_spec)
    local_spec = write_spec(tmp_path / "local.yaml", study_values(videos, tmp_path / "runs"))
    _, local_data, local_baselines, _ = prepared(local_spec)
    assert baselines == local_baselines
    assert [found.manifest.digest for found in data.values()] == [
        found.manifest.digest for found in local_data.values()
    ]
    assert any(text.startswith("baselines") for text in said)
    assert not any(text.startswith("baselines") for text in prepared(remote_spec)[3])

    spec = trials[0].spec
    batches = [
        PretrainSamples(
            manifest=str(next(iter(found.values())).snapshot),
            data=spec.data,
            model=spec.model,
            pretrain=spec.pretrain,
        )(np.arange(4))
        for found in (data, local_data)
    ]
    for name in ("position", "video", "short", "long", "augment", "bad"):
        assert np.array_equal(batches[0][name], batches[1][name]), name


def test_the_client_of_a_bucket_goes_to_other_processes(s3, bucket):
    filesystem, path = client(f"{bucket}/x")
    sent = pickle.loads(pickle.dumps(filesystem))
    with sent.open_output_stream(path) as stream:
        stream.write(b"1")
    assert filesystem.get_file_info(path).size == 1


def test_a_storage_failure_is_final_and_told_in_its_own_words():
    try:
        try:
            raise OSError("AWS Error SLOW_DOWN")
        except OSError as error:
            raise StorageError("s3://b/v.mp4: the storage does not answer") from error
    except StorageError as error:
        direct = error
    text = (
        "Traceback ...\nlstcl_platform.specs.errors.StorageError: s3://b/v.mp4: the storage does not answer\n"
    )
    for failure in (direct, RuntimeError(text)):
        assert is_final(failure)
        assert cause(failure) == "s3://b/v.mp4: the storage does not answer"
    assert not is_final(RuntimeError("another"))
