"""Who tells the user that Ray's head is gone."""

import socket
import threading

from lstcl_platform.orchestration.head_watch import watching_head


class Told:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.arrived = threading.Event()

    def message(self, text: str) -> None:
        self.messages.append(text)
        self.arrived.set()


def test_a_head_that_goes_away_is_told_once_and_one_that_answers_is_not():
    view = Told()
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with watching_head(address, view, every_seconds=0.05):
            for _ in range(6):
                head.accept()[0].close()
            assert not view.messages
            head.close()
            assert view.arrived.wait(60)
            view.arrived.clear()
            assert not view.arrived.wait(0.5)
    (message,) = view.messages
    assert address in message
    assert "launch again" in message
