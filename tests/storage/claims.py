"""What exclusive creation promises, wherever the file lies."""

import threading

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
