"""MLflow's model registry: trained models under a name that others load them by."""

import tempfile
from pathlib import Path

from lstcl_platform.specs.errors import UserError
from lstcl_platform.tracking.trained import TrainedRuns, TrainedWeights

LOADER = "lstcl_platform.training.apply"
"""Module whose `_load_pyfunc` turns the registered file into something that predicts."""

_FOLDER = "model"
_KEY = "lstcl.stage_key"


class Registry(TrainedRuns):
    """The part of the tracking store that registers models."""

    def register_model(self, name: str, trained: TrainedWeights, file: Path) -> tuple[int, bool]:
        """Make a trained model a version of the registered model `name`.

        The model is kept as an artifact of its stage's run. A stage that is a version of `name` already stays that one.

        Args:
            name: of the registered model; made if there is none.
            trained: the stage's result; its key and metrics become tags of the version.
            file: weights that `load_trained` reads.

        Returns:
            The version's number, and whether it is new.

        Raises:
            UserError: MLflow refuses the name, or this store has no registry.
        """
        from mlflow.exceptions import MlflowException

        key = trained.spec.key
        try:
            with self._lock:
                for known in self._client.search_model_versions(f"name = '{name}'"):
                    if known.tags.get(_KEY) == key:
                        return int(known.version), False
                self._make_registered(name)
                with tempfile.TemporaryDirectory() as folder:
                    model = Path(folder) / _FOLDER
                    _save_pyfunc(model, file)
                    self._client.log_artifacts(trained.run_id, str(model), _FOLDER)
                made = self._client.create_model_version(
                    name,
                    source=f"{self._client.get_run(trained.run_id).info.artifact_uri}/{_FOLDER}",
                    run_id=trained.run_id,
                    tags={_KEY: key, **{metric: f"{value:g}" for metric, value in trained.metrics.items()}},
                )
        except MlflowException as error:
            raise UserError(f"--register {name}: MLflow: {error}") from error
        return int(made.version), True

    def _make_registered(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(name)
        except MlflowException:
            self._client.create_registered_model(name)


def _save_pyfunc(folder: Path, file: Path) -> None:
    import mlflow.pyfunc

    # Named, since MLflow would otherwise load the model in a process of its own to guess what it needs.
    needed = ["lstcl-platform", "torch", "mlflow"]
    mlflow.pyfunc.save_model(
        folder, loader_module=LOADER, data_path=str(file), pip_requirements=needed, infer_code_paths=False
    )
