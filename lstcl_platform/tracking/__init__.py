"""The store of stages, launches and trials: MLflow behind plain records."""
