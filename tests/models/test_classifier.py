"""The classifier: parameter counts of Table 4, initialisation, dropout."""

import pytest
import torch

from lstcl_platform.models import Classifier, build_backbone


@pytest.mark.parametrize(("classes", "total"), [(400, 88_042_840), (174, 87_811_190)])
def test_parameter_count_of_the_paper(classes, total):
    with torch.device("meta"):
        model = Classifier(build_backbone("st_swin_base", frames=8, image_size=224), classes)
    assert sum(p.numel() for p in model.parameters()) == total


def test_head_starts_as_a_truncated_normal():
    torch.manual_seed(0)
    head = Classifier(build_backbone("st_swin_micro", frames=8, image_size=32), 400).head
    assert head.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert head.bias.abs().max() == 0


def test_dropout_acts_on_the_feature_in_training_only():
    model = Classifier(build_backbone("st_swin_micro", frames=2, image_size=16), 5, dropout=0.5)
    clip = torch.randn(2, 3, 2, 16, 16)
    assert not torch.equal(model(clip), model(clip))
    logits = model.eval()(clip)
    assert torch.equal(logits, model.head(model.backbone(clip)))


def test_refuses_no_classes():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Classifier(build_backbone("st_swin_micro", frames=2, image_size=16), 0)
