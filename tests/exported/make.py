"""Writes the models in the folder beside this file: small networks as PyTorch's two exporters write them.

Usage: python make.py   (needs torch and onnxscript; the test that reads the models needs neither)
"""

import pathlib

import onnx
import torch
from torch import nn
from torch.nn import functional as F

FOLDER = pathlib.Path(__file__).resolve().parent / "models"


class Windows(nn.Module):
    """Attention within shifted windows of an image, with a bias by distance; two images."""

    def __init__(self, shift, heads=2, size=8, window=4):
        super().__init__()
        self.shift, self.heads, self.window = shift, heads, window
        self.norm, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        away = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", (away[..., 0] * (2 * window - 1) + away[..., 1]).flatten())
        self.mlp = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def attend(self, x):
        n, height, width, size = x.shape
        w, heads = self.window, self.heads
        rows, columns = height // w, width // w
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, rows, w, columns, w, size).permute(0, 1, 3, 2, 4, 5).reshape(n * rows * columns, w * w, size)
        qkv = self.qkv(x).reshape(x.size(0), x.size(1), 3, heads, size // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * (size // heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.table[self.index].view(w * w, w * w, -1).permute(2, 0, 1).contiguous()[None]
        if self.shift:
            part = x.new_zeros((height, width))
            cuts = (slice(0, -w), slice(-w, -self.shift), slice(-self.shift, None))
            for i, down in enumerate(cuts):
                for j, right in enumerate(cuts):
                    part[down, right] = 3 * i + j
            part = part.view(rows, w, columns, w).permute(0, 2, 1, 3).reshape(rows * columns, w * w)
            apart = part[:, None] - part[:, :, None]
            mask = apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)
            scores = scores.view(n, rows * columns, heads, w * w, w * w) + mask[None, :, None]
            scores = scores.view(-1, heads, w * w, w * w)
        y = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        y = y.view(n, rows, columns, w, w, size).permute(0, 1, 3, 2, 4, 5).reshape(n, height, width, size)
        return torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y

    def forward(self, x):
        x = x + self.attend(self.norm(x))
        return x + self.mlp(self.norm2(x))


class Heads(nn.Module):
    """Self-attention by the function that PyTorch has for it; `mask` says what hides positions."""

    def __init__(self, mask, heads=4, shared=1, size=16):
        super().__init__()
        self.mask, self.heads, self.shared = mask, heads, shared
        self.q = nn.Linear(size, size)
        self.k, self.v = (nn.Linear(size, size // shared) for _ in range(2))
        self.out = nn.Linear(size, size)

    def split(self, x, heads):
        return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    def forward(self, x, keep=None):
        q = self.split(self.q(x), self.heads)
        k, v = (self.split(f(x), self.heads // self.shared) for f in (self.k, self.v))
        if self.shared > 1:
            n, heads, length, size = k.shape
            again = lambda t: t[:, :, None].expand(n, heads, self.shared, length, size).reshape(n, -1, length, size)
            k, v = again(k), again(v)
        if self.mask == "padding":
            row = torch.arange(keep.shape[0], device=keep.device)[:, None, None, None]
            column = torch.arange(keep.shape[1], device=keep.device)[None, None, None, :]
            keep = keep.to(torch.bool)[row, column].expand(-1, 1, x.shape[1], -1)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.mask == "causal")
        return self.out(y.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    """A multi-head attention layer, whose heads go through the batch."""

    def __init__(self, size=16):
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(size), nn.MultiheadAttention(size, 2, batch_first=True)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attend(y, y, y, need_weights=False)[0]


class Rotary(nn.Module):
    """Queries and keys turned by their positions; written-out attention under a causal mask."""

    def forward(self, q, k, v):
        n = q.shape[-1]
        rate = 1.0 / (10000 ** (torch.arange(0, n, 2, dtype=torch.float32) / n))
        angle = torch.outer(torch.arange(q.shape[2], dtype=torch.float32), rate)
        angle = torch.cat((angle, angle), -1)
        cos, sin = angle.cos()[None, None], angle.sin()[None, None]

        def turn(x):
            a, b = x[..., : n // 2], x[..., n // 2 :]
            return x * cos + torch.cat((-b, a), -1) * sin

        scores = turn(q) @ turn(k).transpose(2, 3) / n**0.5
        hidden = torch.full((q.shape[2], q.shape[2]), torch.finfo(q.dtype).min).triu(1)
        return F.softmax(scores + hidden, -1, dtype=torch.float32).to(q.dtype) @ v


class Cosine(nn.Module):
    """Attention by the angle between queries and keys, with a factor for each head."""

    def __init__(self, heads=2):
        super().__init__()
        self.factor = nn.Parameter(torch.rand(heads, 1, 1) + 1.0)

    def forward(self, q, k, v):
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return (scores * self.factor.clamp(max=4.6).exp()).softmax(-1) @ v


class Grid(nn.Module):
    """Attention with a dimension for the windows beside the one for the heads, by Einstein sums."""

    def __init__(self, heads=2):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(heads, 6, 6))

    def forward(self, q, k, v):
        scores = torch.einsum("b g h i d, b g h j d -> b g h i j", q, k * q.shape[-1] ** -0.5) + self.bias[None, None]
        return torch.einsum("b g h i j, b g h j d -> b g h i d", scores.softmax(-1), v)


class Norms(nn.Module):
    """Normalisations and activations, some of them written out."""

    def __init__(self, size=16):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(size)) for _ in range(3))
        self.group = nn.GroupNorm(2, 4)
        self.layer = nn.LayerNorm(size)

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        d = x - mean
        layer = d / torch.sqrt((d * d).mean(-1, keepdim=True) + 1e-6) * self.a + self.b
        rms = self.c * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
        gate = 0.5 * layer * (1.0 + torch.tanh(0.7978845608 * (layer + 0.044715 * torch.pow(layer, 3.0))))
        erf = rms * 0.5 * (1.0 + torch.erf(rms / 2.0**0.5))
        return gate + erf + self.group(x) + self.layer(x) + F.mish(x) + F.hardswish(x) + x * torch.sigmoid(x)


class Block(nn.Module):
    """Convolutions with everything around them: batch norms, squeeze and excitation, scaled residuals."""

    def __init__(self, size=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, size, 3, 2, 1, bias=False), nn.BatchNorm2d(size), nn.Hardswish())
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(size, 4, 1), nn.ReLU(), nn.Conv2d(4, size, 1), nn.Hardsigmoid()
        )
        self.deep = nn.Conv2d(size, size, 7, padding=3, groups=size)
        self.norm, self.gamma = nn.LayerNorm(size), nn.Parameter(torch.randn(size, 1, 1))
        self.wide, self.narrow = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.again = nn.Conv2d(size, size, 3, padding=1, groups=size)
        self.norm2 = nn.BatchNorm2d(size)
        for norm in (self.stem[1], self.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)

    def mix(self, x):
        x = self.norm(self.deep(x).permute(0, 2, 3, 1))
        return self.gamma * self.narrow(F.gelu(self.wide(x))).permute(0, 3, 1, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x * self.squeeze(x)
        x = x + self.mix(x)
        x = x + self.mix(x)
        x = self.norm2(self.again(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, 1)
        return torch.cat((a, F.relu(b)), 1)


class UNet(nn.Module):
    """Down and up again, by a transposed convolution and by interpolation to a given size."""

    def __init__(self, size=4):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, size, 3, padding=1), nn.Conv2d(size, 2 * size, 3, 2, 1)
        self.norm = nn.GroupNorm(2, size)
        self.up = nn.ConvTranspose2d(2 * size, size, 2, 2)
        self.out = nn.Conv2d(4 * size, 2, 1)

    def forward(self, x):
        a = F.silu(self.norm(self.a(x)))
        b = F.leaky_relu(self.b(a))
        wide = F.interpolate(b, size=a.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(torch.cat((a, self.up(b), wide), 1))


class Sequence(nn.Module):
    """Recurrent layers, batch first and not."""

    def __init__(self, size=8):
        super().__init__()
        self.words = nn.Embedding(64, size)
        self.lstm = nn.LSTM(size, size, 2, batch_first=True, bidirectional=True)
        self.gru, self.out = nn.GRU(2 * size, size), nn.Linear(size, 3)

    def forward(self, x):
        y, _ = self.lstm(self.words(x))
        y, last = self.gru(y.transpose(0, 1))
        return F.log_softmax(self.out(y.transpose(0, 1)), -1), last


class Boxes(nn.Module):
    """A detection head: boxes on a grid, and the best of them."""

    def __init__(self, kinds=3):
        super().__init__()
        self.kinds = kinds
        self.score, self.box = nn.Conv2d(4, 2 * kinds, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        n, _, height, width = x.shape
        list_of = lambda t, size: t.view(n, 2, size, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, size)
        score, box = list_of(self.score(x), self.kinds).sigmoid(), list_of(self.box(x), 4)
        down, right = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cell = torch.stack((right, down), -1).view(1, -1, 1, 2).expand(n, -1, 2, 2).reshape(n, -1, 2).to(x.dtype)
        middle, size = box[..., :2].sigmoid() + cell, box[..., 2:].exp().clamp(max=8.0)
        box = torch.cat((middle - size / 2, middle + size / 2), -1)
        best, kind = score.max(-1)
        best, at = best.topk(5, dim=1)
        return box.gather(1, at[..., None].expand(-1, -1, 4)), best, kind.gather(1, at)


def three(*dims):
    return tuple(torch.randn(dims) for _ in range(3))


MODELS = {
    "windows": lambda: (Windows(0), (torch.randn(1, 8, 8, 8),)),
    "shifted_windows": lambda: (Windows(2), (torch.randn(2, 8, 8, 8),)),
    "heads": lambda: (Heads(""), (torch.randn(2, 5, 16),)),
    "causal_heads": lambda: (Heads("causal"), (torch.randn(2, 5, 16),)),
    "padded_heads": lambda: (Heads("padding"), (torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.long))),
    "shared_heads": lambda: (Heads("causal", shared=2), (torch.randn(1, 5, 16),)),
    "attention_layer": lambda: (Layer(), (torch.randn(2, 5, 16),)),
    "rotary": lambda: (Rotary(), three(1, 2, 5, 8)),
    "cosine": lambda: (Cosine(), three(2, 2, 5, 8)),
    "grid": lambda: (Grid(), three(2, 3, 2, 6, 8)),
    "norms": lambda: (Norms(), (torch.randn(2, 4, 16),)),
    "block": lambda: (Block(), (torch.randn(1, 3, 12, 12),)),
    "unet": lambda: (UNet(), (torch.randn(1, 3, 8, 8),)),
    "sequence": lambda: (Sequence(), (torch.randint(0, 64, (2, 5)),)),
    "boxes": lambda: (Boxes(), (torch.randn(2, 4, 4, 4),)),
}


def write(name, dynamo):
    torch.manual_seed(len(name))
    model, inputs = MODELS[name]()
    path = FOLDER / f"{name}.{'export' if dynamo else 'trace'}.onnx"
    # In evaluation, the older exporter meets a layer that it has no name for.
    model = model.train() if name == "attention_layer" and not dynamo else model.eval()
    mode = {} if dynamo else {"training": torch.onnx.TrainingMode.PRESERVE}
    torch.onnx.export(model, inputs, path, dynamo=dynamo, verbose=False, **mode, **({"external_data": False} if dynamo else {}))
    proto = onnx.load(path)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for field in (proto.metadata_props, proto.graph.metadata_props, proto.graph.value_info):
        del field[:]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        if hasattr(value, "metadata_props"):
            del value.metadata_props[:]
    proto.producer_version = ""
    onnx.save(proto, path)
    print(path.name, path.stat().st_size, len(proto.graph.node))


if __name__ == "__main__":
    with torch.no_grad():
        for name in MODELS:
            write(name, True)
            write(name, False)
