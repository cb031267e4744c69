"""What a user sees who opens the study in MLflow's own pages, in headless Chromium."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from lstcl_platform.results.compare import compare_trials
from lstcl_platform.results.plots import plot_comparison
from lstcl_platform.tracking.records import LaunchRun
from lstcl_platform.tracking.tracker import Tracker
from tests.helpers.browser import open_browser
from tests.tracking.conftest import make_study

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TOP1 = {"long=8": 0.3125, "long=32": 0.6875}
TRAINING = "workflowType=machine_learning"
"""MLflow's pages open on language models; this is the switch `Model training` at their upper left."""
SERVER_SECONDS = 240
PAGE_SECONDS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def study(folder: Path) -> LaunchRun:
    """A finished study of two cells with its comparison figure, recorded as a launch records it."""
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", artifact_location=str(folder / "artifacts"))
    cells = [{"pretrain.clips.long": int(name.split("=")[1])} for name in TOP1]
    spec, trials, graph = make_study("strides", cells)
    launch = tracker.begin_launch(spec, requested={"name": "strides"}, trials=trials, graph=graph)
    for trial in trials:
        for key in graph.chains[f"strides/{trial.name}"]:
            stage = tracker.begin_stage(graph.stages[key], attempt=1, attempt_dir="a1", fingerprint={})
            tracker.log_rows(
                stage, [{"step": step, "epoch": step / 4, "loss": 1 / step} for step in range(1, 9)]
            )
            tracker.finish_stage(stage, metrics={"top1": TOP1[trial.name]})
        tracker.finish_trial(launch, trial.name, status="finished", metrics={"top1": TOP1[trial.name]})
    figure = folder / "comparison.png"
    plot_comparison(
        compare_trials(tracker.trial_results("strides"), metric="top1", launch_metrics={}), figure
    )
    tracker.finish_launch(launch, status="finished", figures=[figure])
    return launch


@pytest.fixture(scope="module")
def server(folder: Path, study: LaunchRun) -> Iterator[str]:
    """Address of `mlflow ui` on the store of `study`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), *store],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + SERVER_SECONDS
        while not _healthy(address):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[WebDriver]:
    with open_browser(folder / "profile") as driver:
        yield driver


def wait_for_text(browser: WebDriver, *texts: str) -> None:
    """Wait until the page shows all of `texts`."""

    def missing() -> list[str]:
        shown = browser.find_element(By.TAG_NAME, "body").text
        return [text for text in texts if text not in shown]

    end = time.monotonic() + PAGE_SECONDS
    while missing() and time.monotonic() < end:
        time.sleep(0.5)
    assert not missing(), browser.find_element(By.TAG_NAME, "body").text


def test_the_runs_of_a_study_are_listed_by_name(browser, server, study):
    browser.get(f"{server}/#/experiments/{study.experiment_id}?{TRAINING}")
    wait_for_text(browser, "strides", "launch ")
    browser.find_element(By.CSS_SELECTOR, "button[data-component-id*=runnamecellrenderer]").click()
    wait_for_text(browser, *TOP1)


def test_a_trial_shows_its_metric_and_its_cell(browser, server, study):
    browser.get(f"{server}/#/experiments/{study.experiment_id}/runs/{study.trials['long=32']}")
    wait_for_text(browser, "long=32", "top1", "0.6875", "pretrain.clips.long")


def test_the_launch_shows_its_comparison_figure(browser, server, study):
    browser.get(
        f"{server}/#/experiments/{study.experiment_id}/runs/{study.run_id}/artifacts/figures/comparison.png"
    )
    wait_for_text(browser, "comparison.png")
    drawn = (
        "return [...document.images].filter(i => i.naturalWidth >= 300 && i.src.startsWith('blob:')).length"
    )
    WebDriverWait(browser, PAGE_SECONDS).until(lambda page: page.execute_script(drawn) > 0)
