"""torchvision's ResNet-18 (He et al. 2016) with group normalisation.

Inferred: the paper names the architecture, its released code does not have it; normalisation (GroupNorm, 2 groups) and
the place of the dropout are those of its authors' later code.
"""

from functools import partial

from torch import nn

from dia.models.dropout import Dropout
from dia.utils.torchvision_compat import import_torchvision

GROUPS = 2
STAGES = ("layer1", "layer2", "layer3", "layer4")


def resnet18(shape: tuple[int, int, int], num_classes: int, p: float) -> nn.Module:
    """Dropout after each stage (site ``stages``) and between average pool and the last Linear (site ``head``).

    Group normalisation, unlike batch normalisation, keeps the images of a batch apart.

    Args:
        shape: (C, H, W) of the input.
        num_classes: Number of outputs.
        p: Dropout rate of all sites, 0 <= p < 1.
    """
    import_torchvision()
    from torchvision.models import resnet18 as torchvision_resnet18

    model = torchvision_resnet18(num_classes=num_classes, norm_layer=partial(nn.GroupNorm, GROUPS))
    if shape[0] != 3:
        model.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(
            model.conv1.weight, mode="fan_out", nonlinearity="relu"
        )  # as torchvision does
    for stage in STAGES:
        getattr(model, stage).append(Dropout(p))
    model.fc = nn.Sequential(Dropout(p), model.fc)
    return model
