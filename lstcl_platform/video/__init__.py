"""From video files to clips: manifest, sampling, exact decoding, augmentation."""

from lstcl_platform.video.decoding import read_frames
from lstcl_platform.video.sampling import sample_clips

__all__ = ["read_frames", "sample_clips"]
