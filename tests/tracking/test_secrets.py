import logging
import sys

import pytest

from lstcl_platform.tracking.secrets import MaskingFormatter, is_masked, mask, mask_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:pw@host:5000/x", "http://***@host:5000/x"),
        (
            "postgresql+psycopg2://u:p%40x@db/m?sslmode=require",
            "postgresql+psycopg2://***@db/m?sslmode=require",
        ),
        ("s3://bucket/a@b?secret_key=zz&region=eu", "s3://bucket/a@b?secret_key=***&region=eu"),
        ("failed: 'http://a:b@h' and 'http://c:d@h'", "failed: 'http://***@h' and 'http://***@h'"),
        ("s3://bucket/path", "s3://bucket/path"),
    ],
)
def test_uris_lose_their_credentials(text: str, expected: str) -> None:
    assert mask_text(text) == expected


def test_fields_that_speak_of_secrets_are_masked_at_any_depth() -> None:
    value = {"env": [{"AWS_ACCESS_KEY_ID": "x", "HF_TOKEN": "y", "PATH": "/bin"}], "password": None, "n": 3}
    masked = mask(value)
    assert masked == {
        "env": [{"AWS_ACCESS_KEY_ID": "***", "HF_TOKEN": "***", "PATH": "/bin"}],
        "password": None,
        "n": 3,
    }
    assert is_masked(masked)
    assert not is_masked(value)


def test_secrets_of_the_environment_are_masked_wherever_they_turn_up(monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/srv/me/.ray/auth_token")
    monkeypatch.setenv("MY_TOKEN", "word")
    text = "denied: key wJalrXUtnFEMI/K7MDENG, token word of /srv/me/.ray/auth_token"
    assert mask_text(text) == "denied: key ***, token word of /srv/me/.ray/auth_token"
    try:
        raise RuntimeError(text)
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "no %s", ("http://a:b@h",), sys.exc_info())
    logged = MaskingFormatter("%(message)s").format(record)
    assert logged.startswith("no http://***@h")
    assert "Traceback" in logged
    assert "wJalr" not in logged


def test_stars_in_prose_are_no_mask() -> None:
    assert not is_masked({"description": "*** important ***"})
