import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstcl_platform.orchestration.cluster import Capacity
from lstcl_platform.orchestration.preflight import check_reachable, place
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.run import ResourcesSpec


def capacity(
    *,
    cpus=2.0,
    gpus=0.0,
    max_cpus=None,
    max_gpus=None,
    nodes=1,
    decode_cpus=0.0,
    node_cpus=64.0,
    node_gpus=8.0,
):
    return Capacity(
        cpus=cpus,
        gpus=gpus,
        max_cpus=cpus if max_cpus is None else max_cpus,
        max_gpus=gpus if max_gpus is None else max_gpus,
        node_cpus=node_cpus,
        node_gpus=node_gpus,
        nodes=nodes,
        can_grow=max_cpus is not None,
        object_store_bytes=1 << 30,
        decode_cpus=decode_cpus,
    )


def test_more_gpus_than_the_cluster_can_ever_have_are_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"needs 16 GPUs \(8 workers x 2\).*never have more than 4"):
        place(ResourcesSpec(workers=8, gpus_per_worker=2.0), capacity(cpus=64, gpus=4), stages=1)


def test_gpus_that_an_autoscaler_may_bring_are_waited_for():
    placement = place(
        ResourcesSpec(workers=4, gpus_per_worker=1.0),
        capacity(cpus=4, max_cpus=64, max_gpus=8),
        stages=9,
    )
    assert placement.concurrent == 2
    assert placement.waits_for == "4 more GPUs"


def test_more_cpus_than_there_can_be_are_refused():
    asked = ResourcesSpec(workers=2, cpus_per_worker=2.0)
    with pytest.raises(UserError, match=r"never have more than 2; .*known on its head alone: launch there"):
        place(asked, capacity(), stages=1)
    with pytest.raises(UserError, match=r"never have more than 3; .*resources\.cpus_per_worker$"):
        place(asked, capacity(max_cpus=3), stages=1)


def test_a_worker_is_never_larger_than_the_largest_node():
    assert place(ResourcesSpec(max_concurrent_stages=1), capacity(cpus=8), stages=1).worker_cpus == 4
    small = place(ResourcesSpec(max_concurrent_stages=1), capacity(cpus=8, node_cpus=1.0), stages=1)
    assert (small.worker_cpus, small.decode.cpus) == (1, 7)
    with pytest.raises(UserError, match=r"cpus_per_worker: a worker needs 2 CPUs, .* more than 1$"):
        place(ResourcesSpec(cpus_per_worker=2.0), capacity(cpus=8, node_cpus=1.0), stages=1)
    with pytest.raises(UserError, match=r"gpus_per_worker: a worker needs 2 GPUs, .* more than 1$"):
        place(ResourcesSpec(gpus_per_worker=2.0), capacity(cpus=8, gpus=8, node_gpus=1.0), stages=1)


def test_auto_takes_a_gpu_a_worker_where_the_cluster_has_them():
    assert place(ResourcesSpec(), capacity(cpus=8, gpus=1), stages=1).worker_gpus == 1
    assert place(ResourcesSpec(), capacity(cpus=8), stages=1).worker_gpus == 0


def test_decode_tasks_ask_for_decode_nodes_only_where_there_are_some():
    together = place(ResourcesSpec(), capacity(cpus=6), stages=1)
    assert (together.label_selector, together.decode.label_selector) == ({}, {})
    assert (together.worker_cpus, together.decode.cpus) == (3, 3)
    apart = place(ResourcesSpec(), capacity(cpus=6, decode_cpus=4), stages=1)
    assert apart.decode.label_selector == {"ray-subcluster": "data"}
    assert apart.label_selector == {"ray-subcluster": "!data"}
    assert (apart.worker_cpus, apart.decode.cpus) == (2, 4)
    with pytest.raises(UserError, match="never have more than 2 besides its decode nodes' 4"):
        place(ResourcesSpec(cpus_per_worker=3.0), capacity(cpus=6, decode_cpus=4), stages=1)


def test_a_cluster_of_decode_nodes_alone_is_a_cluster_like_any_other():
    assert place(ResourcesSpec(), capacity(decode_cpus=2.0), stages=1) == place(
        ResourcesSpec(), capacity(), stages=1
    )


@given(
    workers=st.integers(1, 8),
    cpus=st.integers(1, 64),
    gpus=st.integers(0, 8),
    decode_cpus=st.sampled_from([0, 1, 5]),
    fixed=st.sampled_from(["auto", 0.5, 1.0, 3.0]),
    concurrent=st.sampled_from(["auto", 1, 4, 16]),
    stages=st.integers(1, 30),
)
def test_what_is_placed_always_fits_with_cpu_left_to_decode(
    workers, cpus, gpus, decode_cpus, fixed, concurrent, stages
):
    resources = ResourcesSpec(workers=workers, cpus_per_worker=fixed, max_concurrent_stages=concurrent)
    have = capacity(cpus=float(cpus), gpus=float(gpus), decode_cpus=float(min(decode_cpus, cpus)))
    try:
        placement = place(resources, have, stages=stages)
    except UserError:
        return
    each = placement.workers * placement.worker_cpus + placement.decode.cpus
    assert placement.concurrent * each <= cpus + 1e-6
    assert placement.concurrent * placement.workers * placement.worker_gpus <= gpus
    assert 0 < placement.decode.task_cpus <= placement.decode.cpus
    assert placement.concurrent * placement.decode.object_store_bytes <= have.object_store_bytes


def test_local_storage_on_several_nodes_is_refused_by_field(tmp_path):
    with pytest.raises(UserError, match=r"storage\.path: .* is on one node"):
        check_reachable(nodes=3, can_grow=False, locations={"storage.path": str(tmp_path)})
    with pytest.raises(UserError, match=r"tracking\.uri"):
        check_reachable(nodes=1, can_grow=True, locations={"tracking.uri": "sqlite:////data/mlflow.db"})


def test_one_node_or_shared_locations_pass(tmp_path):
    check_reachable(
        nodes=3,
        can_grow=False,
        locations={"storage.path": str(tmp_path), "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db"},
        shared=tmp_path,
    )
    with pytest.raises(UserError, match=r"tracking\.uri"):
        check_reachable(
            nodes=3, can_grow=False, locations={"tracking.uri": "sqlite:////elsewhere/m.db"}, shared=tmp_path
        )
    check_reachable(nodes=1, can_grow=False, locations={"storage.path": str(tmp_path)})
    check_reachable(
        nodes=3, can_grow=True, locations={"storage.path": "s3://b/x", "tracking.uri": "http://h:5000"}
    )
