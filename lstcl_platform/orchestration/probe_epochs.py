"""Whether the weights that `evaluate.probe_epochs` asks for can still be had: a training does not run backwards."""

from collections.abc import Collection, Mapping

from lstcl_platform.orchestration.job import trained_on
from lstcl_platform.orchestration.prepare import IndexedData
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.stages import Stage, StageGraph
from lstcl_platform.training.checkpoints import checkpoint_folders


def check_probe_epochs(
    graph: StageGraph,
    *,
    finished: Collection[str],
    stage_dirs: Mapping[str, str],
    data: Mapping[str, IndexedData],
) -> None:
    """Refuse to probe an epoch that its pretraining has left behind, instead of training up to there once more.

    Args:
        graph: all stages.
        finished: keys of those whose results are there.
        stage_dirs: of each stage, its folder.
        data: the videos, by resolved path.

    Raises:
        UserError: names every such epoch and its pretraining.
        StorageError: storage is away.
    """

    def epochs(stage: Stage) -> float:
        """Those that a pretraining has done, as far as it could go on from them."""
        assert stage.spec.pretrain is not None
        if stage.key in finished:
            return stage.until or stage.spec.pretrain.epochs
        steps = max((step for _, step, _ in checkpoint_folders(stage_dirs[stage.key])), default=0)
        videos = len(data[trained_on(stage)].manifest.usable)
        return steps / max(1, videos // stage.spec.pretrain.batch_size)

    problems = []
    for part in graph.stages.values():
        if part.kind != "pretrain" or part.until is None or part.key in finished:
            continue
        reached, longer = max((epochs(longer), longer.short_key) for longer in graph.longer(part.key))
        if reached > part.until:
            problems.append(
                f"  epoch {part.until} of {part.trials[0]}: pretrain {longer} has come to epoch {reached:g}"
            )
    if problems:
        raise UserError(
            "\n".join(
                [
                    "evaluate.probe_epochs: pretraining went on without keeping the weights that are to be probed",
                    *problems,
                    "take these epochs out (`sweep` can set probe_epochs cell by cell), or pretrain anew with "
                    "another pretrain.seed",
                ]
            )
        )
