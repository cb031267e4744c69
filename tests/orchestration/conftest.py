from tests.tracking.conftest import storage, tracker

__all__ = ["storage", "tracker"]
