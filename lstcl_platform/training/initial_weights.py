"""The public weights that a first stage starts from, fetched, loaded and accounted for."""

import logging
import tempfile
from pathlib import Path

from lstcl_platform import storage
from lstcl_platform.models import Backbone
from lstcl_platform.models.initial_weights import LoadReport, load_initial_weights
from lstcl_platform.specs.errors import UserError
from lstcl_platform.specs.weights import WeightsSpec
from lstcl_platform.training.context import StageContext

logger = logging.getLogger(__name__)

REPORT = "initial_weights.txt"
"""File in the attempt's folder that says what became of every tensor."""


def start_from_public(backbone: Backbone, weights: WeightsSpec | None, context: StageContext) -> None:
    """Load `model.init` where there is one and no checkpoint of this stage will replace it.

    The report of the load goes to the log and into the attempt's folder.

    Raises:
        UserError: the weights cannot be had, or do not fit for a reason that is not known.
    """
    if weights is None or context.resume_from is not None:
        return
    report = _load(backbone, weights)
    if context.is_main:
        logger.info("%s", report)
        storage.write_bytes(storage.join(context.attempt_dir, REPORT), f"{report}\n".encode())


def _load(backbone: Backbone, weights: WeightsSpec) -> LoadReport:
    if weights.file is None or (local := storage.local_path(weights.file)) is not None:
        return load_initial_weights(backbone, weights, file=None if weights.file is None else local)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(weights.file).name
        try:
            storage.download(weights.file, path)
        except OSError as error:
            raise UserError(f"model.init.file: cannot read {weights.file}: {error}") from error
        return load_initial_weights(backbone, weights, file=path)
