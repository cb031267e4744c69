"""How findings are shown, and the exit code; the checks themselves run in tests/integration/test_doctor.py."""

import json

import pytest
from typer.testing import CliRunner

from lstcl_platform.cli.main import app
from lstcl_platform.orchestration import doctor
from lstcl_platform.orchestration.findings import Finding
from lstcl_platform.specs import load_experiment

FINE = Finding(check="versions", status="ok", detail="python 3.11 [all]")
SLOW = Finding(check="clocks", status="warn", detail="n1 is 1.5 s ahead")
BROKEN = Finding(check="storage", status="fail", detail="n2: cannot write")


@pytest.mark.parametrize(("findings", "code"), [([FINE], 0), ([FINE, SLOW], 0), ([FINE, SLOW, BROKEN], 1)])
def test_only_a_failed_check_fails(monkeypatch, findings, code):
    asked = []

    def examine(spec, *, address, tell):
        asked.append((spec, address))
        tell("every node")
        return findings

    monkeypatch.setattr(doctor, "examine", examine)
    shown = CliRunner().invoke(app, ["doctor", "--address", "here:1"])
    assert shown.exit_code == code
    assert asked == [(None, "here:1")]
    assert "looking at every node" in shown.stderr
    for finding in findings:
        line = next(line for line in shown.stdout.splitlines() if finding.check in line)
        assert finding.status in line
        assert finding.detail in line
    listed = CliRunner().invoke(app, ["doctor", "--format", "json"])
    assert [finding["status"] for finding in json.loads(listed.stdout)] == [f.status for f in findings]


def test_what_is_read_of_a_study_are_a_few_videos_of_each_path(tmp_path):
    for split, count in (("train", 9), ("val", 2)):
        for index in range(count):
            file = tmp_path / split / "run" / f"{index}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    spec = tmp_path / "study.yaml"
    spec.write_text("name: study\ndata: {train: train, val: val}\nresources: {workers: 4}\n")
    patient = doctor._patient_of(load_experiment(spec))
    assert (patient.workers, patient.family, patient.framework.kind) == (4, "st_swin", "moco_v3")
    videos, problem = doctor._some_videos(patient)
    assert [video.removeprefix(f"{tmp_path}/") for video in videos] == [
        *(f"train/run/{index}.mp4" for index in (0, 3, 5, 8)),
        "val/run/0.mp4",
        "val/run/1.mp4",
    ]
    assert problem == ""
    spec.write_text("name: study\ndata: {train: train, val: nowhere}\n")
    assert "nowhere: no such file" in doctor._some_videos(doctor._patient_of(load_experiment(spec)))[1]
    spec.write_text("name: study\ndata: {train: train, val: nowhere, synthesize: {}}\n")
    assert doctor._some_videos(doctor._patient_of(load_experiment(spec)))[1] == ""
