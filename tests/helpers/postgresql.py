"""A PostgreSQL server of the test's own, on a Unix socket, run by a user without rights."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "hunter2hunter2"
"""Not asked for, as the socket lies in a folder of its own; but where it turns up, a secret has got out."""


@contextmanager
def postgresql() -> Iterator[str]:
    """URI of an empty database; the server ends with the block."""
    # Not pytest's folder, into which only its owner may look; and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="lstcl-pg-"))
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to be
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [program, f"--pgdata={data}", *arguments]
        log = folder / f"{program}.log"
        with log.open("w") as output:  # not a pipe, which the server would keep open
            done = subprocess.run(
                command, user=user, cwd=folder, stdout=output, stderr=output, timeout=120, check=False
            )
        assert done.returncode == 0, log.read_text()

    try:
        run("initdb", "--auth=trust", "--username=lstcl", "--encoding=UTF8", "--locale=C", "--no-sync")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "max_connections": "60",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        run("pg_ctl", "--wait", f"--log={folder / 'server.log'}", f"--options={options}", "start")
        try:
            yield f"postgresql+psycopg://lstcl:{PASSWORD}@/postgres?host={folder}"
        finally:
            run("pg_ctl", "--mode=immediate", "--wait", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
