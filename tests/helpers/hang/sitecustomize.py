"""For a node whose PYTHONPATH leads here: a training thread that can be made to hang while its process answers.

Once the file named by LSTCL_TEST_HANG exists, the next thread that begins a step removes it and never returns.
"""

import os
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

_ORDER = Path(os.environ["LSTCL_TEST_HANG"])


def _hang(frame: FrameType, event: str, argument: Any) -> None:
    if event == "call" and frame.f_code.co_name == "reseed" and _ORDER.exists():
        _ORDER.unlink()
        while True:
            time.sleep(3600)


threading.setprofile(_hang)
