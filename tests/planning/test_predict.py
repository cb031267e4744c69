"""Predictions on numbers that are done by hand."""

import pytest

from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec
from lstcl_platform.planning.launched import prediction_of_launch
from lstcl_platform.planning.rates import RatesSpec
from lstcl_platform.planning.span import Span
from lstcl_platform.planning.work import DataSize, parse_sizes, size_of
from lstcl_platform.specs import UserError
from lstcl_platform.specs.data import DataSpec, SyntheticSpec
from lstcl_platform.specs.run import CheckpointSpec
from tests.planning.conftest import cluster_of, graph_of, rate

KINDS = ("pretrain", "finetune", "evaluate")


def seconds(found) -> dict[str, Span]:
    return {each.stage.kind: each.seconds for each in found.stages.values()}


def test_measured_rates_give_the_time_of_each_stage_and_the_price_of_all(predict):
    found = predict(graph_of(), cluster_of(price_per_hour=36.0))
    expected = {kind: span.expected for kind, span in seconds(found).items()}
    assert expected == {
        "pretrain": pytest.approx(106.0),
        "finetune": pytest.approx(206.0),
        "evaluate": pytest.approx(10.0),
    }
    assert found.wall.expected == pytest.approx(332.0)
    assert found.cost is not None
    assert found.cost.expected == pytest.approx(3.32)
    assert found.totals().bases == {"measured": 3}
    assert found.totals("pretrain").worker_hours.expected == pytest.approx(106 / 3600)
    assert found.bottleneck == "training"


def test_the_range_is_that_of_the_measurements(predict):
    rates = [rate("pretrain", samples_per_second=speed) for speed in (5.0, 10.0, 20.0)]
    span = predict(graph_of(), cluster_of(), rates=rates)
    steps = next(each for each in span.stages.values() if each.stage.kind == "pretrain").times.compute
    assert (steps.low, steps.expected, steps.high) == pytest.approx((0.5, 1.0, 2.0))


def test_another_stage_of_the_device_is_scaled_by_operations(predict):
    """A pretraining sample has 2 views x (3 + 1) passes, a finetuning sample 3: at a rate of 10, so 26.7."""
    found = predict(graph_of(), cluster_of(), rates=[rate("pretrain")])
    finetune = next(each for each in found.stages.values() if each.stage.kind == "finetune")
    assert finetune.times.basis == "scaled"
    assert finetune.times.compute.expected == pytest.approx(10 / (10 * 8 / 3), rel=1e-6)
    assert finetune.times.compute.low < finetune.times.compute.expected < finetune.times.compute.high


def test_without_a_rate_operations_and_assumptions_make_a_guess(predict):
    found = predict(graph_of(), cluster_of(peak_tflops=100.0), rates=[])
    pretrain = next(iter(found.stages.values()))
    assert pretrain.times.basis == "guess"
    # 35 % of 100 TFLOP/s is assumed; 1000 samples in 100 steps.
    assert pretrain.times.compute.expected == pytest.approx(pretrain.work.flops / 100 / 35e12)
    with pytest.raises(UserError, match=r"no training on Test GPU was measured: say resources\.peak_tflops"):
        predict(graph_of(), cluster_of(), rates=[])


def test_the_speed_of_another_device_says_nothing_but_its_decoding_does(predict):
    rates = [rate(kind, device="Other GPU", decode_seconds=2.0) for kind in KINDS]
    found = predict(graph_of(), cluster_of(peak_tflops=100.0), rates=rates)
    assert found.totals().bases == {"guess": 3}
    assert found.totals().decode_hours.expected == pytest.approx(2 * (1000 + 2000 + 40) / 3600)


def test_the_peak_that_the_study_states_does_for_a_guess_too(predict):
    stated = predict(graph_of(resources={"peak_tflops": 100.0}), cluster_of(), rates=[])
    described = predict(graph_of(), cluster_of(peak_tflops=100.0), rates=[])
    assert seconds(stated) == seconds(described)


def test_decoding_that_is_too_slow_is_named_with_the_cores_that_would_do(predict):
    rates = [rate(kind, decode_seconds=1.0) for kind in KINDS]
    found = predict(graph_of(), cluster_of(cpus=5.0), rates=rates)
    assert found.bottleneck == "decode"
    assert found.balance == pytest.approx(10.0)  # 10 videos a second of a core second each
    assert found.cores_a_worker == pytest.approx(4.0)
    assert seconds(found)["pretrain"].expected == pytest.approx(5 + 250 + 1)
    assert found.totals().decode_hours.expected == pytest.approx((1000 + 2000 + 40) / 3600)


def test_storage_counts_checkpoints_weights_and_predictions(predict):
    found = predict(graph_of(), cluster_of())
    sizes = {each.stage.kind: each.work.stored_bytes for each in found.stages.values()}
    backbone = 4 * 121_536  # bytes of the weights
    assert sizes["evaluate"] == 40 * (4 * 5 + 80)
    assert sizes["finetune"] == pytest.approx(4 * backbone, rel=0.25)
    assert sizes["pretrain"] > sizes["finetune"]


def test_stages_side_by_side_share_the_wall_time_but_a_chain_cannot(predict):
    grid = {"sweep": {"grid": {"finetune.seed": [0, 1, 2, 3]}}}
    alone, together = (predict(graph_of(**grid), cluster_of(count)) for count in (1, 4))
    assert alone.wall.expected == pytest.approx(10 + 106 + 4 * 216)
    assert together.at_once == 4
    assert together.wall.expected == pytest.approx(10 + 106 + 216)


def test_more_at_once_than_there_are_cores_for_gains_nothing(predict):
    rates = [rate(kind, device="cpu") for kind in KINDS]
    graph = graph_of(resources={"max_concurrent_stages": 4}, sweep={"grid": {"finetune.seed": [0, 1, 2, 3]}})
    two_cores = ClusterSpec(nodes={"here": NodeGroupSpec(cpus=2.0)})
    found = predict(graph, two_cores, rates=rates)
    assert found.at_once == 4
    # 6 of the seconds of each stage start and end it, with 1.25 cores; the rest keeps one busy.
    busy = 100 + 6 * 1.25 + 4 * (204 + 12 * 1.25)
    assert found.wall.expected == pytest.approx(10 + busy / 2, rel=1e-3)


def test_rungs_of_successive_halving_share_the_epochs_of_one_finetuning(predict):
    """After epochs 5 and 10 of 20; 10 steps of a second each are an epoch."""
    halving = {"grid": {"finetune.stride": [2, 4]}, "halving": {"after_epochs": [5, 10]}}
    found = predict(graph_of(sweep=halving), cluster_of())
    tuned = [each.work.steps for each in found.stages.values() if each.stage.kind == "finetune"]
    assert tuned == 2 * [50, 50, 100]


def test_parts_up_to_a_probe_share_the_epochs_of_one_pretraining_and_make_one_chain(predict):
    """After epochs 2 and 5 of 10; 10 steps are an epoch."""
    probes = {"protocols": ["linear"], "probe_epochs": [2, 5]}
    found = predict(graph_of(evaluate=probes), cluster_of(count=2))
    parts = [each for each in found.stages.values() if each.stage.kind == "pretrain"]
    assert [part.work.steps for part in parts] == [20, 30, 50]
    assert found.at_once == 2  # a probe beside the pretraining that goes on
    assert predict(graph_of(evaluate={"protocols": ["linear"]}), cluster_of(count=2)).at_once == 1
    assert found.wall.expected > sum(part.seconds.expected for part in parts)


def test_data_of_unknown_size_is_not_guessed_at():
    data = DataSpec(train="/x/mine", val="/x/val")
    assert size_of("/x/mine", data, {}) is None
    known = parse_sizes(["mine=5000/12"], ["/x/mine", "/x/val"])
    assert size_of("/x/mine", data, known) == DataSize(videos=5000, classes=12, source="--videos")
    kinetics = DataSpec(train="/x/kinetics400/train", val="/x/kinetics400/val")
    assert [getattr(size_of(path, kinetics, {}), "videos", 0) for path in (kinetics.train, kinetics.val)] == [
        240_000,
        20_000,
    ]
    rendered = DataSpec(train="/x/mine", val="/x/val", synthesize=SyntheticSpec(train_videos=9, val_videos=3))
    assert getattr(size_of("/x/val", rendered, {}), "videos", 0) == 3


@pytest.mark.parametrize("text", ["mine", "mine=", "mine=many", "mine=0", "mine=5/x"])
def test_sizes_of_another_form_are_refused(text):
    with pytest.raises(UserError, match=r"--videos .*expected PATH=VIDEOS"):
        parse_sizes([text], ["/x/mine"])


def test_sizes_of_data_that_no_study_reads_are_refused():
    with pytest.raises(UserError, match="no study reads yours; they read /x/mine"):
        parse_sizes(["yours=3"], ["/x/mine"])


def test_a_stage_that_does_not_fit_the_cluster_is_refused(predict):
    graph = graph_of(resources={"workers": 2}, finetune={"batch_size": 4})
    with pytest.raises(UserError, match="needs 2 GPUs"):
        predict(graph, cluster_of())


def test_a_launch_predicts_without_counting_what_it_has_rates_for():
    graph = graph_of(model={"name": "st_swin_micro", "frames": 4, "image_size": 40})
    sizes = {"/d/train": DataSize(videos=100, classes=5), "/d/val": DataSize(videos=40, classes=5)}
    odd = {"frames": 4, "image_size": 40, "device": "cpu"}
    rates = RatesSpec(stages=[rate("pretrain", **odd)], launch_seconds=[1.0])
    capacity = ClusterSpec(nodes={"here": NodeGroupSpec(cpus=2.0)}).capacity
    found = prediction_of_launch(
        graph, finished=(), sizes=sizes, rates=rates, capacity=capacity, checkpoint=CheckpointSpec()
    )
    assert [each["kind"] for each in found.values()] == ["pretrain"]
    (only,) = found.values()
    assert only["seconds"]["expected"] == pytest.approx(106.0)
    assert only["basis"] == "measured"


def test_a_launch_on_gpus_that_were_never_measured_predicts_nothing():
    capacity = cluster_of().capacity
    sizes = {"/d/train": DataSize(videos=100, classes=5), "/d/val": DataSize(videos=40, classes=5)}
    given = {"finished": (), "sizes": sizes, "capacity": capacity, "checkpoint": CheckpointSpec()}
    assert prediction_of_launch(graph_of(), rates=RatesSpec(), **given) == {}
    rates = RatesSpec(stages=[rate(kind) for kind in KINDS])
    assert len(prediction_of_launch(graph_of(), rates=rates, **given)) == 3
