"""What storage promises wherever the file lies."""

import threading

import pytest

from lstcl_platform import storage


def one_of_many_creates(location: str) -> None:
    """Eight threads create one file at once: one of them wins, and its content is there."""
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        start.wait()
        if storage.create_exclusively(location, str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read_bytes(location) == str(won[0]).encode()


def break_off_a_write(location: str) -> None:
    """Write half of a file, and fail."""

    def write_half() -> None:
        with storage.open_write(location) as file:
            file.write(b"half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_half()
