from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 3, padding="same", bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)  # 1 - 0.99: PyTorch's momentum is the new value's

    def forward(self, x):
        return functional.max_pool2d(functional.relu(self.bn(self.conv(x))), 2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1, self.block2 = Block(3, 8), Block(8, 16)
        self.hidden, self.logits = nn.Linear(4 * 4 * 16, 32), nn.Linear(32, 10)
        self.dropout = nn.Dropout(0.4)

    def forward(self, image):
        x = image.permute(0, 3, 1, 2)  # to (batch, channels, height, width)
        x = self.flat(self.block2(self.block1(x)))
        return {"logits": self.logits(self.dropout(functional.relu(self.hidden(x))))}

    def flat(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)  # the order in which TensorFlow flattens


class FlattenedAsItLies(Net):
    def flat(self, x):
        return x.flatten(1)


def build():
    return Net()


def build_with_a_mistake():
    return FlattenedAsItLies()
