import threading
from pathlib import Path

from lstcl_platform.orchestration.watchdog import Watchdog


def test_a_loop_that_stands_still_is_told_once_with_its_stack(tmp_path: Path):
    told, spoken = [], threading.Event()
    log = tmp_path / "rank0.log"

    def tell(place):
        told.append(place)
        spoken.set()

    def stand_still():
        assert spoken.wait(60)

    watchdog = Watchdog(seconds=0.2, tell=tell, log=log)
    assert not spoken.wait(0.5), "before the first step it may take any time"
    watchdog.beat(7)
    stand_still()
    watchdog.close()
    (place,) = told
    assert (place["step"], place["waits"]) == (7, False)
    assert "threading.py" in place["where"]
    assert "stand_still" in log.read_text()
