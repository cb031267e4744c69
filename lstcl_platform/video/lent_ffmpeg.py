"""FFmpeg's libraries inside PyAV's wheel, under the names by which others look for them.

TorchCodec's wheel brings no FFmpeg. Where the system has none either:

    LD_LIBRARY_PATH=$(python -m lstcl_platform.video.lent_ffmpeg FOLDER) lstcl-platform bench decode ...

Then both decode with the same FFmpeg, too.
"""

import re
import sys
from pathlib import Path

import av

COMMAND = "LD_LIBRARY_PATH=$(python -m lstcl_platform.video.lent_ffmpeg FOLDER)"
_LIBRARY = re.compile(r"(lib(?:av\w+|sw\w+))-\w+(\.so\.\d+)")


def lend(folder: Path) -> int:
    """Fill `folder` with links such as `libavcodec.so.62`, and return how many; 0 for a PyAV built otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    for library in (Path(av.__file__).parents[1] / "av.libs").glob("lib*"):
        name = _LIBRARY.match(library.name)
        if name is not None:
            link = folder / "".join(name.groups())
            link.unlink(missing_ok=True)
            link.symlink_to(library)
            found += 1
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2 or not lend(Path(sys.argv[1])):
        sys.exit("expected a folder to fill, and a PyAV wheel that brings its own FFmpeg")
    print(Path(sys.argv[1]).resolve())
