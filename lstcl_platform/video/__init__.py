"""From video files to clips: manifest, sampling, exact decoding, augmentation."""
