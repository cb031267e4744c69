import pytest

from lstcl_platform.specs.wording import numbered


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((1, "trial"), "1 trial"),
        ((0, "trial"), "0 trials"),
        ((1.0, "GPU"), "1 GPU"),
        ((0.5, "GPU"), "0.5 GPUs"),
        ((1234567, "video"), "1,234,567 videos"),
        ((2, "class", "classes"), "2 classes"),
        ((1, "class", "classes"), "1 class"),
    ],
)
def test_one_is_singular_and_all_else_plural(words, text):
    assert numbered(*words) == text
