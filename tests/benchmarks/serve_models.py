"""The models that :mod:`tests.benchmarks.serve` serves, in one file each, with one input and one output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A sample model, as any of the runtimes can serve it: one file, one input, one output."""

    name: str
    folder: str
    """The folder of ``tests/models`` that has its configuration and the source that it is built upon."""
    serve: str
    """The class to be served; the baseline serves the first class by the alphabet."""
    extra: str = ""
    """Further source."""
    shape: tuple[int, ...]
    """The shape of a row of the input."""

    @property
    def integers(self) -> bool:
        """Whether its input is ids of tokens, of any number."""
        return self.folder == "encoder"

    def source(self) -> str:
        """Return its source in one file: the baseline knows no package."""
        folder = MODELS / self.folder / "1"
        blocks = (folder / "blocks.py").read_text() if (folder / "blocks.py").exists() else ""
        model = (folder / "model.py").read_text()
        model = re.sub(r"^from \.blocks import .*\n", "", model, flags=re.MULTILINE)
        return f"{blocks}\n{model}\n{self.extra}"


_ENCODER = """
class AEncoder(Encoder):
    def forward(self, ids):
        return super().forward(ids)["pooled"]
"""

_SIX_LAYERS = """
class AEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(1000, 384), nn.Embedding(256, 384)
        self.layers = nn.Sequential(*[Six(384, heads=12) for _ in range(6)])
        self.head = nn.Linear(384, 64)

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.layers(self.words(ids) + self.places(places)).mean(1))

class Six(Layer):
    def forward(self, x):
        return super().forward(x, None)
"""

_RESNET50 = """
class AResNet(nn.Module):
    def __init__(self):
        super().__init__()
        stem = [nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        blocks, width = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for place in range(count):
                blocks.append(Bottleneck(width, 64 << stage, 2 if stage and not place else 1))
                width = 256 << stage
        self.body = nn.Sequential(*stem, nn.MaxPool2d(3, stride=2, padding=1), *blocks)
        self.head = nn.Linear(width, 10)

    def forward(self, image):
        return self.head(self.body(image).mean((2, 3)))

class Bottleneck(nn.Module):
    def __init__(self, given, inner, stride):
        super().__init__()
        def convolution(a, b, size, stride=1):
            return [nn.Conv2d(a, b, size, stride=stride, padding=size // 2, bias=False), nn.BatchNorm2d(b)]
        layers = [*convolution(given, inner, 1), nn.ReLU(), *convolution(inner, inner, 3, stride), nn.ReLU()]
        self.body = nn.Sequential(*layers, *convolution(inner, 4 * inner, 1))
        same = stride == 1 and given == 4 * inner
        self.skip = nn.Identity() if same else nn.Sequential(*convolution(given, 4 * inner, 1, stride))

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))
"""

SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(name="mlp", folder="mlp", serve="MLP", shape=(128,)),
        Sample(name="convnet", folder="convnet", serve="ConvNet", shape=(3, 32, 32)),
        Sample(name="encoder", folder="encoder", serve="AEncoder", extra=_ENCODER, shape=(48,)),
        Sample(name="encoder6", folder="encoder", serve="AEncoder", extra=_SIX_LAYERS, shape=(48,)),
        Sample(name="resnet50", folder="convnet", serve="AResNet", extra=_RESNET50, shape=(3, 224, 224)),
    )
}
DEFAULT = ("mlp", "convnet", "encoder")
"""What is measured where nothing else is asked for; the others take minutes."""
