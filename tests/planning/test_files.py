"""Files of clusters and rates: what is wrong is said once, with file, line and field."""

from pathlib import Path

import pytest

from lstcl_platform.planning import clusters
from lstcl_platform.planning.clusters import load_cluster
from lstcl_platform.planning.rates import add_rate, load_rates
from lstcl_platform.specs import UserError
from tests.planning.conftest import rate

CLUSTERS = sorted((Path(__file__).parents[2] / "experiments" / "clusters").glob("*gpus.yaml"))

WRONG_CLUSTERS = {
    "nodes:\n  gpu: {count: 2, cpus: 8, gpu: 8}\n": r"c\.yaml:2: nodes\.gpu\.gpu: unknown field; did you mean 'gpus'",
    "nodes:\n  gpu:\n    cpus: -1\n": r"c\.yaml:3: nodes\.gpu\.cpus: must be at least 0, not -1",
    "nodes:\n  gpu: {cpus: 8, gpus: 1}\n": r"c\.yaml:2: nodes\.gpu: a group with gpus needs their device",
    "nodes:\n  d: {cpus: 8, decode: true}\n": r"c\.yaml:1: no group trains",
    "nodes: {}\n": r"c\.yaml:1: nodes: must be",
    "currency: EUR\n": r"c\.yaml: nodes: required, but missing",
    "": r"c\.yaml: the file is empty",
    "- a\n": r"c\.yaml:1: the top level must be a mapping",
}
WRONG_RATES = {
    "stages:\n  - {stage: pretrain, model: st_swin_micro, frames: 8, image_size: 32, sampels_per_second: 3}\n": (
        r"r\.yaml:2: stages\[0\]\.sampels_per_second: unknown field; did you mean 'samples_per_second'"
    ),
    "stages:\n  - {stage: pretrian, model: st_swin_micro, frames: 8, image_size: 32}\n": (
        r"r\.yaml:2: stages\[0\]\.stage: must be .*did you mean 'pretrain'"
    ),
    "assume:\n  mfu: [0.2, 0.4]\n": r"r\.yaml:2: assume\.mfu: must be a list of 3 values, not a list of 2",
}


@pytest.mark.parametrize("text", WRONG_CLUSTERS)
def test_a_wrong_cluster_is_refused_with_one_message(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=WRONG_CLUSTERS[text]) as refused:
        load_cluster(tmp_path / "c.yaml")
    assert len(str(refused.value).splitlines()) <= 2
    assert "experiment" not in str(refused.value)


@pytest.mark.parametrize("text", WRONG_RATES)
def test_wrong_rates_are_refused_with_one_message(text, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=WRONG_RATES[text]) as refused:
        load_rates(tmp_path / "r.yaml")
    assert len(str(refused.value).splitlines()) == 2


def test_this_machine_has_the_gpus_that_its_driver_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "GPUS", tmp_path)
    assert (clusters.this_machine().device, clusters.this_machine().capacity.gpus) == ("cpu", 0.0)
    for bus in ("0000:19:00.0", "0000:3b:00.0"):
        (tmp_path / bus).mkdir()
        information = f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 18\nBus Location: \t {bus}\n"
        (tmp_path / bus / "information").write_text(information)
    found = clusters.this_machine()
    assert (found.device, found.capacity.gpus) == ("NVIDIA H100 80GB HBM3", 2.0)


def test_what_bench_measures_joins_the_file(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("assume: {start_cores: 2}\n")
    add_rate(file, rate("finetune", samples_per_second=5.0))
    add_rate(file, rate("pretrain", decode_seconds=None, start_seconds=None, end_seconds=None))
    later = rate(
        "pretrain", samples_per_second=None, decode_seconds=0.5, start_seconds=None, end_seconds=None
    )
    add_rate(file, later)
    found = load_rates(file)
    assert found.assume.start_cores == 2.0
    assert [(each.stage, each.samples_per_second, each.decode_seconds) for each in found.stages] == [
        ("pretrain", 10.0, 0.5),
        ("finetune", 5.0, 1e-6),
    ]
    with pytest.raises(UserError, match="cannot read the rates file"):
        add_rate(tmp_path, later)


def test_json_is_read_too(tmp_path):
    (tmp_path / "r.json").write_text('{"launch_seconds": [12.5], "assume": {"start_cores": 2}}')
    rates = load_rates(tmp_path / "r.json")
    assert (rates.launch_seconds, rates.assume.start_cores) == ([12.5], 2.0)


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_the_examples_are_right(path):
    cluster = load_cluster(path)
    assert f"{cluster.capacity.gpus:g}gpus" in path.stem.replace("_", "")
    assert cluster.priced
    assert "assum" in cluster.description or "example" in cluster.description


def test_there_are_examples():
    assert len(CLUSTERS) == 2
