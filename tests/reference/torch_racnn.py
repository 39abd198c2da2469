"""References of torchvision's backbones and of RA-CNN in PyTorch, with their parameter names."""

from __future__ import annotations

from typing import Any, List

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Torchvision's inverted residual: `conv` holds blocks of convolution, norm and ReLU6."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width, self.adds = inputs * expansion, stride == 1 and inputs == outputs
        blocks = [block(inputs, width)] if expansion > 1 else []
        blocks += [block(width, width, 3, stride, width), nn.Conv2d(width, outputs, 1, bias=False)]
        self.conv = nn.Sequential(*blocks, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x if self.adds else self.conv(x)


def block(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Any:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class MobileNetV2(nn.Module):
    """Features and a head."""

    TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    TABLE += ((6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers, before = [block(3, 32, 3, 2)], 32
        for expansion, channels, count, stride in self.TABLE:
            for number in range(count):
                layers.append(Bottleneck(before, channels, 1 if number else stride, expansion))
                before = channels
        self.features = nn.Sequential(*layers, block(320, 1280))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class VGG(nn.Module):
    """VGG-19 with BatchNorm; its head is unused, and smaller than the real one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers, before = [], 3
        for count, channels in ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)):
            for _ in range(count):
                conv = nn.Conv2d(before, channels, 3, padding=1)
                layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(512, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.features[:-1](x)


class Bottleneck50(nn.Module):
    """Post-activation bottleneck with its stride in the 3x3 convolution."""

    def __init__(self, inputs: int, width: int, stride: int, projects: bool) -> None:
        super().__init__()
        sizes = ((inputs, width, 1), (width, width, 3), (width, 4 * width, 1))
        for number, (before, after, kernel) in enumerate(sizes, 1):
            step = stride if kernel == 3 else 1
            conv = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        conv = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
        self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width)) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(y)) + (self.downsample(x) if self.downsample else x))


class ResNet50(nn.Module):
    """Features; its head is unused."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        before = 64
        for stage, count in enumerate((3, 4, 6, 3), 1):
            width, blocks = 32 * 2**stage, []
            for number in range(count):
                stride = 2 if stage > 1 and not number else 1
                blocks.append(Bottleneck50(before, width, stride, not number))
                before = 4 * width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class RACNN(nn.Module):
    """Three scales; a box is (row, column, half side), in shares of the side it is cropped from."""

    def __init__(self, mobile: bool, side: int, crop: int, classes: int) -> None:
        super().__init__()
        self.mobile, self.crop = mobile, crop
        channels = 320 if mobile else 512
        cells = [(size // (32 if mobile else 16)) ** 2 for size in (side, crop)]
        cells[0] //= 1 if mobile else 4
        for scale in (1, 2, 3):
            self.add_module(f"b{scale}", (MobileNetV2 if mobile else VGG)(classes))
            self.add_module(f"classifier{scale}", nn.Linear(channels, classes))
        for number, count in enumerate(cells, 1):
            layers = nn.Linear(channels * count, 1024), nn.Tanh(), nn.Linear(1024, 3), nn.Sigmoid()
            self.add_module(f"apn{number}", nn.Sequential(*layers))

    def crop_box(self, image: Tensor, box: Tensor) -> Tensor:
        """The box of one image: whole pixels under a soft mask of slope 10 a pixel, resized."""
        side = image.shape[1]
        half = max(float(box[2]), side / 3)
        spans, masks = [], []
        for middle in box[:2].tolist():
            middle = min(max(middle, half), side - half)
            low = int(max(middle - half, 0))
            high = int(middle + half) if middle + half < side else side
            pixels = torch.arange(side).float()
            masks.append(torch.sigmoid(10 * (pixels - low)) - torch.sigmoid(10 * (pixels - high)))
            spans.append(slice(low, high))
        masked = image * masks[0][:, None] * masks[1][None]
        inner = masked[:, spans[0], spans[1]][None]
        return F.interpolate(inner, (self.crop,) * 2, mode="bilinear", align_corners=True)[0]

    def forward(self, images: Tensor) -> List[Tensor]:
        view, logits = images, []
        scale_of_box = torch.tensor([1.0, 1.0, 0.5 if self.mobile else 1.0])
        for scale in (1, 2, 3):
            features = getattr(self, f"b{scale}").features[:-1](view)
            logits.append(getattr(self, f"classifier{scale}")(features.mean((2, 3))))
            if scale < 3:
                pooled = scale == 1 and not self.mobile
                flat = (F.max_pool2d(features, 2) if pooled else features).flatten(1)
                boxes = getattr(self, f"apn{scale}")(flat) * scale_of_box * view.shape[-1]
                view = torch.stack([self.crop_box(*pair) for pair in zip(view, boxes)])
        return logits
