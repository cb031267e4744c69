"""The ledger of bad videos: which, why, and what they cost."""

from typing import TYPE_CHECKING

from lstcl_platform.results.report.manifests import load_manifest, manifests_of
from lstcl_platform.results.report.ran import KINDS
from lstcl_platform.results.report.study import Study
from lstcl_platform.results.report.table import Table, figure, text
from lstcl_platform.tracking.secrets import mask_text

if TYPE_CHECKING:
    from lstcl_platform.tracking.tracker import Tracker

MAX_LISTED = 200


def bad_videos_table(tracker: "Tracker", study: Study) -> Table:
    """Videos that the index left out, and those that failed while a stage read them."""
    rows = []
    for source, digest in manifests_of(study).items():
        manifest = load_manifest(study, digest)
        for path, problem in [] if manifest is None else manifest.problems:
            rows.append(
                [text(path), text(mask_text(problem)), text(f"index of {source}"), figure("left out")]
            )
    for key, record in study.stages.items():
        run_id = record.state.run_id
        if run_id is None or (
            record.state.status == "finished" and not record.result.metrics.get("bad_videos")
        ):
            continue
        where = f"{KINDS[record.state.kind]} {key[:10]}"
        for problem, times in tracker.bad_videos(run_id).items():
            path, _, reason = problem.partition(": ")
            rows.append([text(path), text(reason or "–"), text(where), figure(f"{times} ×")])
    more = len(rows) - MAX_LISTED
    return Table(
        caption="Bad videos",
        head=["video", "problem", "met by", "samples"],
        rows=rows[:MAX_LISTED],
        note=f"{more} more are not listed."
        if more > 0
        else "In training another video of the same step of the plan stood "
        "in; in a test a video that cannot be decoded counts as wrong.",
    )
