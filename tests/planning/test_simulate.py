"""The simulator on sweeps that are done by hand."""

import math
import random
from dataclasses import replace

import pytest

from lstcl_platform.planning.clusters import ClusterSpec, NodeGroupSpec
from lstcl_platform.planning.predict import Forecast
from lstcl_platform.planning.simulate import replay, simulate
from lstcl_platform.specs.run import CheckpointSpec
from tests.planning.conftest import GPU, cluster_of, exact, graph_of, rate

# One trial: 5 + 100 steps of 1 s + 1, then 5 + 200 steps of 1 s + 1, then 5 + 40 videos at 10 a second + 1.
PRETRAIN, FINETUNE, EVALUATE, LAUNCH = 106.0, 206.0, 10.0, 10.0
TWO = {"sweep": {"grid": {"finetune.seed": [0, 1]}}}


def ends(found: Forecast, seed: int = 0) -> dict[str, list[tuple[float, float]]]:
    """Kind -> (start, end) of its stages in the order of their starts."""
    spans = replay(found, seed=seed).ends
    return {
        kind: sorted(spans[key] for key in spans if found.stages[key].stage.kind == kind)
        for kind in ("pretrain", "finetune", "evaluate")
    }


def test_one_chain_on_one_node_is_the_sum_of_its_stages(predict):
    found = exact(predict(graph_of(), cluster_of()))
    run = replay(found, seed=0)
    assert run.makespan == pytest.approx(LAUNCH + PRETRAIN + FINETUNE + EVALUATE)
    # The GPU computes for 100 + 200 + 4 seconds of these.
    assert run.idle == pytest.approx(1 - 304 / 332)
    assert ends(found)["finetune"] == [(pytest.approx(116), pytest.approx(322))]


def test_two_nodes_run_the_two_children_of_a_shared_pretraining_side_by_side(predict):
    one = replay(exact(predict(graph_of(**TWO), cluster_of(1))), seed=0)
    two = replay(exact(predict(graph_of(**TWO), cluster_of(2))), seed=0)
    assert one.makespan == pytest.approx(LAUNCH + PRETRAIN + 2 * (FINETUNE + EVALUATE))
    assert two.makespan == pytest.approx(LAUNCH + PRETRAIN + FINETUNE + EVALUATE)


def test_a_node_that_starts_late_holds_its_stages_back(predict):
    found = exact(predict(graph_of(), cluster_of(start_up_minutes=2.0)))
    assert replay(found, seed=0).makespan == pytest.approx(120 + PRETRAIN + FINETUNE + EVALUATE)


def test_what_is_finished_is_not_run_again(predict):
    graph = graph_of()
    done = next(iter(graph.stages))
    found = exact(predict(graph, cluster_of(), finished=(done,)))
    assert replay(found, seed=0).makespan == pytest.approx(LAUNCH + FINETUNE + EVALUATE)


def test_an_interruption_costs_the_steps_since_the_checkpoint_the_new_node_and_another_start(predict):
    graph = graph_of()
    done = tuple(key for key, stage in graph.stages.items() if stage.kind != "pretrain")
    rate_an_hour, start_up = 20.0, 60.0
    cluster = cluster_of(interruptions_per_hour=rate_an_hour, start_up_minutes=start_up / 60)
    checkpoint = CheckpointSpec(every_steps=25, every_minutes=None)
    found = exact(predict(graph, cluster, finished=done, checkpoint=checkpoint))
    seed, life = next(
        (seed, first)
        for seed in range(1000)
        if 40 < (first := lives(seed, rate_an_hour))[0] < 80 and first[1] > 110
    )
    # Up at 60 s, started at 65; taken away after life[0] seconds with so many steps done:
    steps = life[0] - 5
    saved = 25 * math.floor(steps / 25)
    run = replay(found, seed=seed)
    assert run.interruptions == 1
    assert run.lost == pytest.approx(steps - saved)
    assert run.makespan == pytest.approx(start_up + life[0] + start_up + 5 + (100 - saved) + 1)


def test_a_test_that_is_interrupted_starts_anew(predict):
    graph = graph_of()
    done = tuple(key for key, stage in graph.stages.items() if stage.kind != "evaluate")
    slow = [rate("evaluate", samples_per_second=0.5)]  # 80 s
    cluster = cluster_of(interruptions_per_hour=20.0, start_up_minutes=1.0)
    seed, life = next(
        (seed, first) for seed in range(1000) if 40 < (first := lives(seed, 20.0))[0] < 80 and first[1] > 110
    )
    run = replay(exact(predict(graph, cluster, rates=slow, finished=done)), seed=seed)
    assert run.makespan == pytest.approx(60 + life[0] + 60 + 5 + 80 + 1)


def lives(seed: int, rate_an_hour: float) -> list[float]:
    """The first lives of the node that the simulator draws: after the draw of how far the rates are off."""
    draws = random.Random(seed)
    draws.triangular(-1.0, 1.0, 0.0)
    return [draws.expovariate(rate_an_hour / 3600) for _ in range(2)]


def test_stages_that_share_cores_slow_each_other_down(predict):
    rates = [rate(kind, device="cpu") for kind in ("pretrain", "finetune", "evaluate")]
    cluster = ClusterSpec(nodes={"here": NodeGroupSpec(cpus=1.0)})
    graph = graph_of(resources={"max_concurrent_stages": 2}, **TWO)
    found = replace(exact(predict(graph, cluster, rates=rates)), start_cores=1.0)
    assert found.at_once == 2
    # On one core the two halves of the sweep take as long together as one after the other.
    assert replay(found, seed=0).makespan == pytest.approx(
        LAUNCH + PRETRAIN + 2 * (FINETUNE + EVALUATE), rel=1e-3
    )
    roomy = ClusterSpec(nodes={"here": NodeGroupSpec(cpus=8.0)})
    apart = replace(exact(predict(graph, roomy, rates=rates)), start_cores=1.0)
    assert replay(apart, seed=0).makespan == pytest.approx(LAUNCH + PRETRAIN + FINETUNE + EVALUATE, rel=1e-3)


def test_decoding_that_is_too_slow_sets_the_pace(predict):
    rates = [rate(kind, decode_seconds=1.0) for kind in ("pretrain", "finetune", "evaluate")]
    cluster = cluster_of(cpus=5.0)  # one for the worker, four that decode
    found = exact(predict(graph_of(), cluster, rates=rates))
    # A step decodes 10 videos of a core second each on 4 cores: 2.5 s instead of 1.
    assert ends(found)["pretrain"] == [(pytest.approx(10), pytest.approx(10 + 5 + 250 + 1))]


def test_a_stage_of_several_workers_spans_nodes_and_waits_for_all_of_them(predict):
    graph = graph_of(
        resources={"workers": 2}, finetune={"epochs": 20, "batch_size": 10, "mixup": 0.0, "cutmix": 0.0}
    )
    found = exact(predict(graph, cluster_of(2)))
    # Twice the workers, half the time a step; the cluster holds one such stage.
    assert found.at_once == 1
    pretrain = ends(found)["pretrain"][0]
    assert pretrain[1] - pretrain[0] == pytest.approx(5 + 50 + 1)


def test_seeds_give_a_range_and_the_same_seeds_the_same(predict):
    found = predict(
        graph_of(), cluster_of(price_per_hour=36.0, interruptions_per_hour=2.0, start_up_minutes=1.0)
    )
    one, two = simulate(found, seeds=9), simulate(found, seeds=9)
    assert one == two
    assert one.makespan.low < one.makespan.expected < one.makespan.high
    assert one.cost is not None
    assert one.cost.expected == pytest.approx(one.makespan.expected * 0.01)
    assert 0 < one.idle.expected < 1


def test_nodes_that_only_decode_hold_no_worker(predict):
    nodes = {
        "decode": NodeGroupSpec(cpus=4.0, decode=True),
        "gpu": NodeGroupSpec(cpus=8.0, gpus=1, device=GPU),
    }
    rates = [rate(kind, decode_seconds=1.0) for kind in ("pretrain", "finetune", "evaluate")]
    found = exact(predict(graph_of(), ClusterSpec(nodes=nodes), rates=rates))
    assert ends(found)["pretrain"] == [(pytest.approx(10), pytest.approx(266))]
