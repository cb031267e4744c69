from tests.storage.conftest import bucket, s3, s3_server
from tests.tracking.conftest import storage, tracker

__all__ = ["bucket", "s3", "s3_server", "storage", "tracker"]
