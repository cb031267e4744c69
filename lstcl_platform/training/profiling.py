"""A profiler trace of a few steps, on request."""

import gzip
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from lstcl_platform import storage
from lstcl_platform.training.context import StageContext


class StepProfiler:
    """Profiles the steps of `context.profile_steps` on rank 0; does nothing without them.

    The trace is Chrome's format (Perfetto opens it), at `<attempt_dir>/trace-<first>-<last>.json.gz`. A stage that is
    interrupted among these steps leaves no trace, and one that goes on among them profiles the rest.
    """

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._steps = context.profile_steps if context.is_main else None
        self._first = 0
        self._running: profile | None = None

    def before(self, step: int) -> None:
        """Step number `step` (1-based) begins."""
        if self._steps is None or self._running is not None or not self._steps[0] <= step <= self._steps[1]:
            return
        activities = [ProfilerActivity.CPU]
        if self._context.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._first = step
        self._running = profile(activities=activities, record_shapes=True)
        self._running.start()

    def after(self, step: int) -> None:
        """Step number `step` was handed to the device; the last one's trace is written."""
        if self._running is None or self._steps is None or step < self._steps[1]:
            return
        self._running.stop()  # waits for the device
        location = storage.join(self._context.attempt_dir, f"trace-{self._first}-{step}.json.gz")
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "trace.json"
            self._running.export_chrome_trace(str(plain))
            storage.write_bytes(location, gzip.compress(plain.read_bytes()))
        self._running = None
        self._context.reporter.file(location)
