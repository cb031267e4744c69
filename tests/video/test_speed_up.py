from lstcl_platform.video.speed_up import measure_speed_up
from lstcl_platform.video.transcoding import TranscodeSettings, transcode
from tests.helpers.videos import make_video


def test_small_pictures_in_short_groups_are_faster(tmp_path):
    source = make_video(tmp_path / "in.mp4", frames=120, side=480, gop=120, bframes=0)
    transcode(source, tmp_path / "out.mp4", TranscodeSettings(short_side=32))
    before, after = measure_speed_up([(source, tmp_path / "out.mp4")], strides=(4, 8), frames=4, rounds=2)
    assert after > 2 * before > 0
