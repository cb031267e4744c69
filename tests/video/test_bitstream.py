import pytest

from lstcl_platform.video.bitstream import _is_intra


@pytest.mark.parametrize(
    # first_mb_in_slice 0 is "1"; slice types 7 and 2 (I), 5 and 0 (P), 6 (B) follow as Exp-Golomb codes.
    ("bits", "intra"),
    [("10001000", True), ("1011", True), ("100110", False), ("11", False), ("100111", False)],
)
def test_slice_types(bits, intra):
    padded = (bits + "1" * 64)[:64]
    header = bytes(int(padded[i : i + 8], 2) for i in range(0, 64, 8))
    assert _is_intra(memoryview(header)) is intra
