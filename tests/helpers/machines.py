"""Two machines on this one, by Linux namespaces: each with an address, ports, processes and a user of its own.

So commands that are meant for nodes of a cloud run as they are written, `ray stop` and fixed ports included, and
touch nothing else on this machine.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESSES = {"head": "10.77.0.1", "worker": "10.77.0.2"}
"""On a network that nobody else is on."""
NEEDED = ("unshare", "nsenter", "ip", "mount")
"""Programs, of util-linux and iproute2."""

_OUTSIDE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
)
_NETWORK = """
set -eu
ip link set lo up
unshare --net sleep infinity &
other=$!
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
head() { "$@"; }
worker() { nsenter --target $other --net "$@"; }
ip link add head type veth peer name worker netns $other
for machine in head worker; do
  $machine ip link set lo up
  $machine ip address add $([ $machine = head ] && echo $2 || echo $3)/24 dev $machine
  $machine ip link set $machine up
  $machine ip route add default dev $machine
done
mount -t tmpfs none /mnt
mkdir /mnt/lstcl
mount --bind "$1/shared" /mnt/lstcl
for machine in head worker; do
  export HOME=$1/$machine RAY_TMPDIR=$1/$machine XDG_RUNTIME_DIR=$1/$machine
  $machine unshare --user --map-user=$4 --pid --fork --mount-proc --kill-child bash -c '
    cd
    while sleep 0.1; do
      for file in *.sh; do
        [ -f "$file" ] || continue
        mv "$file" running
        bash running >output 2>&1 </dev/null
        echo $? >code
        mv code "${file%.sh}.code"
      done
    done' &
done
wait
"""
"""With a folder, the addresses of head and worker, and the user that the machines know the caller as."""


class Machine:
    """One of the two.

    Args:
        home: its home folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._asked = 0

    def run(self, command: str, *, seconds: float = 600) -> str:
        """Output of a shell command that ends well, and leaves what it started running."""
        self._asked += 1
        asked, output = self.home / f"{self._asked}.part", self.home / "output"
        asked.write_text(command)
        asked.rename(asked.with_suffix(".sh"))
        answer = asked.with_suffix(".code")
        end = time.monotonic() + seconds
        while not answer.exists():
            assert time.monotonic() < end, f"{command} does not end: {output.read_text()[-3000:]}"
            time.sleep(0.1)
        assert int(answer.read_text()) == 0, f"{command}: {output.read_text()[-3000:]}"
        return output.read_text()


@contextmanager
def two_machines(**environment: str) -> Iterator[tuple[Machine, Machine]]:
    """Head and worker, which share /mnt/lstcl; all that was started on them ends with the block."""
    # A short path, for sockets, and not pytest's folder, into which only its owner may look.
    folder = Path(tempfile.mkdtemp(prefix="lstcl-m-"))
    for name in (*ADDRESSES, "shared"):
        (folder / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    user = str(pwd.getpwnam("nobody").pw_uid)
    with (folder / "log").open("w") as log:
        namespaces = subprocess.Popen(
            [*_OUTSIDE, "bash", "-c", _NETWORK, "bash", str(folder), *ADDRESSES.values(), user],
            env=kept | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Machine(folder / "head"), Machine(folder / "worker")
    finally:
        namespaces.kill()
        namespaces.wait(30)
        sys.stderr.write((folder / "log").read_text())
        shutil.rmtree(folder, ignore_errors=True)
