"""A user's module with networks, fit and unfit."""

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn


def small(classes=3, rate=0.5, width=4, sides=None):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.9), nn.Linear(width, classes), nn.Dropout(rate)
    )


def normal(classes):
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout2d(), nn.Flatten(), nn.Linear(72, classes))


def plain(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def fails():
    raise KeyError("weights")


def nothing():
    return 3


def tokens(x):
    return x.flatten(1, 2)


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(64, 3)
        self.dropout = nn.Dropout()

    def forward(self, x):
        return self.head(self.dropout(self.inner(tokens(x)).flatten(1)))


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.3, self.training)  # functional


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x)[0]  # built in


class Fused(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.2 if self.training else 0.0)  # fused


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 8, 2, dropout=0.3, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]  # recurrent


class Switched(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.0, batch_first=True)

    def forward(self, x):
        x = F.scaled_dot_product_attention(F.dropout(x, 0.0), x, x, dropout_p=0.0)
        return self.attend(x, x, x, need_weights=False)[0]


def functional():
    return Around(Functional())


def attention():
    return Around(Attention())


def fused():
    return Around(nn.Sequential(nn.Identity(), Fused()))


def recurrent():
    return Around(Recurrent())


def alpha():
    return Around(nn.Sequential(nn.AlphaDropout(0.2)))


def encoder():
    return Around(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))


def switched():
    return Around(Switched())


def encoder_without_hidden():
    model = Around(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    model.inner.self_attn.dropout = 0.0
    return model


def unused():
    model = Around(nn.Identity())
    model.never = nn.Dropout()
    return model
"""
