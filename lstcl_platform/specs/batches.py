"""Whether the batches of a trial can be filled, once the number of videos is known."""

from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.experiment import TrialSpec
from lstcl_platform.specs.wording import numbered


def check_batches(spec: TrialSpec, *, pretraining: int | None, labelled: int | None) -> None:
    """Refuse a batch that the videos cannot fill, which its stage would find after those before it have run.

    Args:
        spec: the trial.
        pretraining: usable videos of `data.pretraining`; None where their number is not known.
        labelled: videos that finetuning uses, after `finetune.labels_per_class`; None where it is not known.

    Raises:
        UserError: a batch is larger than the videos that its stage has.
    """
    if spec.pretrain is not None and pretraining is not None:
        _check("pretrain", spec.data.pretraining, pretraining, spec.pretrain.batch_size)
    if "finetuned" in spec.evaluate.protocols and labelled is not None:
        _check("finetune", spec.data.train, labelled, spec.finetune.batch_size)


def _check(block: str, source: str, videos: int, batch_size: int) -> None:
    if videos < batch_size:
        raise UserError(
            f"{block}.batch_size is {batch_size}, but {source} has only {numbered(videos, 'video')} for it: "
            f"lower {block}.batch_size to {videos} or less, or add videos"
        )
