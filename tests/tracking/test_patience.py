"""What the user is told of a tracking store that does not answer."""

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from lstcl_platform.tracking.patience import Patience, StoreAwayError, is_away


def test_a_full_disk_is_told_in_the_databases_own_words():
    engine = sqlalchemy.create_engine("sqlite://")

    def attempt(again):
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count = 1")
                connection.exec_driver_sql("CREATE TABLE runs (name TEXT)")
        except sqlalchemy.exc.OperationalError as error:
            # As the session does when a query sends what waits to be written.
            error.add_detail("raised as a result of Query-invoked autoflush")
            raise MlflowException(str(error), error_code=TEMPORARILY_UNAVAILABLE) from error

    told = []
    with pytest.raises(StoreAwayError, match=": database or disk is full\\."):
        Patience(0.01, tell=told.append).call("sqlite:///mlflow.db", attempt, away=is_away)
    assert "does not answer (database or disk is full)" in told[0]
