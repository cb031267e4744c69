"""Samples decoded in a child process, to find and name the one that crashes the decoder or makes it hang."""

import base64
import pickle
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from lstcl_platform.specs.errors import StorageError, UserError
from lstcl_platform.video.guarded import ChildLost, Guard, answer_lines
from lstcl_platform.video.process import set_up_decoding
from lstcl_platform.video.reading import DecodeError
from lstcl_platform.video.sample_reads import Patience, Sample, SampleRef, Verdicts

_SERVE = "from lstcl_platform.video.guarded_samples import serve; serve()"


class GuardedReads:
    """Reads each sample in a child process: slower by its start and a copy, and it survives everything."""

    def __init__(self, verdicts: Verdicts, patience: Patience) -> None:
        self._verdicts = verdicts
        self._patience = patience
        self._guard = Guard(_SERVE)
        self._folder = tempfile.TemporaryDirectory(prefix="lstcl-sample-")

    def __call__(self, ref: SampleRef) -> Sample:
        """The sample.

        Raises:
            DecodeError: it is settled to be bad, or failed `Patience.failures` times alike while its file could be
                read and was what had been indexed.
            StorageError: the file cannot be read, or not in time.
            UserError: the file has changed, or too many videos are bad.
            RuntimeError: the child failed for another reason.
        """
        problem = self._verdicts.settled(ref, look=True)
        if problem is not None:
            raise DecodeError(str(ref.file), problem)
        failures: Counter[tuple[str, bool]] = Counter()
        while True:
            try:
                return self._decode(ref)
            except DecodeError as error:
                failure = error.reason, False
            except ChildLost as lost:
                if lost.killed:
                    raise RuntimeError(
                        f"{ref.file}: {lost}: killed from outside, perhaps for memory"
                    ) from lost
                failure = str(lost), True
            self._check_unchanged(ref)
            failures[failure] += 1
            if failures[failure] == self._patience.failures:
                problem, native = failure
                self._verdicts.add(ref, problem, settled=native)
                raise DecodeError(str(ref.file), problem)

    def _decode(self, ref: SampleRef) -> Sample:
        target = Path(self._folder.name) / "sample"
        answer = self._ask(ref, {"target": str(target)})
        if "bad" in answer:
            raise DecodeError(str(ref.file), answer["bad"])
        sample = cast(Sample, pickle.loads(target.read_bytes()))
        target.unlink()
        return sample

    def _check_unchanged(self, ref: SampleRef) -> None:
        try:
            answer = self._ask(ref, {})
        except ChildLost as lost:
            raise StorageError(
                f"{ref.file} cannot be read through ({lost}): its storage is away or stuck. No video was replaced for "
                "it; launch again when it is back"
            ) from lost
        if "away" in answer:
            raise StorageError(answer["away"])
        if "changed" in answer:
            raise UserError(answer["changed"])

    def _ask(self, ref: SampleRef, request: dict[str, Any]) -> dict[str, Any]:
        request["ref"] = base64.b64encode(pickle.dumps(ref)).decode()
        answer: dict[str, Any] = self._guard.ask(request, limit_seconds=self._patience.limit(ref))
        if "error" in answer:
            raise RuntimeError(f"{ref.file}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guard.close()
        self._folder.cleanup()


def serve() -> None:
    """Body of the child: decodes a sample into a file, or looks whether a video is what was indexed."""
    set_up_decoding()
    answer_lines(_answer)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        ref: SampleRef = pickle.loads(base64.b64decode(request["ref"]))
        if "target" in request:
            Path(request["target"]).write_bytes(pickle.dumps(ref.decode(), protocol=5))
        else:
            ref.check_unchanged()
    except DecodeError as error:
        return {"bad": error.reason}
    except StorageError as error:
        return {"away": str(error)}
    except UserError as error:
        return {"changed": str(error)}
    except Exception as error:
        # Whatever it is, the child must say so: to die would be taken for the video's fault.
        return {"error": f"{type(error).__name__}: {error}"}
    return {}
