"""The discriminator of JSI-GAN (Kim, Oh, Kim: AAAI 2020), as the authors' code has it.

It differs from the paper's figure: channels rise to sixteen times the first layer's, the two fully connected layers are
convolutions, and the logit itself is batch-normalised (which can be left out).
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ConfigError, DataError
from zoo.nets.blocks import init_convs, truncated_normal_
from zoo.nets.spectral_norm import SpectralNormConv2d
from zoo.precision import at_least_float32, without_autocast
from zoo.ranks import from_each_rank, ranks

_SLOPE = 0.2
_MOMENTUM = 0.1
_EPS = 1.001e-5  # 1e-5 was asked for; TensorFlow 1's fused kernel has a floor of 1.001e-5
_FEATURE_LAYERS = (1, 3, 5, 7)
# What the first layers round away no later one brings back, and ten batch norms over a handful of pictures spread it:
# the cosine of the gradient with float32's was 0.02 to 0.6 with all layers in bfloat16, 0.96 with these two apart.
_FLOAT32_LAYERS = (0, 1)


class BatchStatisticsNorm(nn.Module):
    """Batch normalisation by the statistics of the batch at hand, in evaluation too.

    Running averages are kept in training as the authors' are, the variance unbiased, but nothing reads them.

    Shape: ``(B, channels, H, W)`` with more than one value for each channel; returns the same.

    Args:
        sync: whether the batch at hand is that of all ranks, each with as many values, or of one rank (authors). Over
            ranks a forward pass takes part in one collective operation, and its backward pass in another.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, sync: bool = False) -> None:
        super().__init__()
        self.sync = sync
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.sync and ranks() > 1:
            return self._normalised_over_ranks(x)
        mean, var = (self.running_mean, self.running_var) if self.training else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, training=True, momentum=_MOMENTUM, eps=_EPS)

    def _normalised_over_ranks(self, x: Tensor) -> Tensor:
        """The same by the statistics of all ranks, which torch has for GPUs alone."""
        with without_autocast(x):
            var, mean = torch.var_mean(at_least_float32(x), dim=(0, 2, 3), correction=0)
            # The ranks' variances about their own means, and what those means add about the common one.
            means, variances = from_each_rank(torch.stack([mean, var])).unbind(1)
            mean = means.mean(0)
            var = (variances + (means - mean).square()).mean(0)
            if self.training:
                count = x.numel() // x.shape[1] * len(means)
                self.running_mean.lerp_(mean.detach(), _MOMENTUM)
                self.running_var.lerp_(var.detach() * count / max(count - 1, 1), _MOMENTUM)
            mean, factor, bias = (t[:, None, None] for t in (mean, self.weight * torch.rsqrt(var + _EPS), self.bias))
            return ((at_least_float32(x) - mean) * factor + bias).to(x.dtype)


class DiscriminatorLayer(nn.Module):
    """Convolution with spectral norm, and either batch normalisation or a bias.

    Kernels of 3 and 4 are padded with zeros so that stride 1 keeps the size and stride 2 halves it, rounding up for odd
    heights; 5 and 1 aren't padded.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, norm: bool, sync_batchnorm: bool
    ) -> None:
        super().__init__()
        self.conv = SpectralNormConv2d(in_channels, out_channels, kernel_size, stride, bias=not norm)
        self.norm = BatchStatisticsNorm(out_channels, sync_batchnorm) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        kernel_size, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel_size in (3, 4):
            # The authors' code looks at the height alone, for both axes.
            after = 1 if x.shape[-2] % stride == 0 else 2
            x = F.pad(x, (1, after, 1, after))
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class Discriminator(nn.Module):
    """Discriminator of HR pictures (D1) or of their detail layers (D2).

    Ten convolutions that halve the size five times, then the paper's two fully connected layers as 5x5 and 1x1
    convolutions without padding: squares of 129 to 160 pixels end at one logit, larger pictures at a map of logits.

    The power iteration of the spectral norm is up to the caller: :meth:`advance` once before the passes that belong
    together. Real and fake pictures must be separate calls, since each batch is normalised by its own statistics; a
    batch that ends at n logits needs n > 1.

    Args:
        base_channels: of the first layer, 32 in the paper.
        logit_norm: whether the logit is batch-normalised (authors) or has a bias instead. With the norm the mean of a
            batch's logits is the norm's beta whatever the pictures: the relativistic hinge losses of both sides are at
            least 2 (Jensen's inequality: each of their two means is at least 1), and don't change if every fake logit
            rises by one amount before the norm. Without it they can fall and do change; but the layer before is
            normalised too, so real and fake still differ by the shape of a distribution alone.
        sync_batchnorm: whether statistics are those of all ranks' batches or of one rank's (authors).

    Raises:
        ConfigError: no channels.
    """

    def __init__(self, base_channels: int = 32, logit_norm: bool = True, sync_batchnorm: bool = False) -> None:
        super().__init__()
        if base_channels < 1:
            raise ConfigError(f"Discriminator can't have {base_channels} base channels; use 1 or more (the paper: 32)")
        self.sync_batchnorm = sync_batchnorm
        channels = base_channels
        layer = partial(DiscriminatorLayer, norm=True, sync_batchnorm=sync_batchnorm)
        # The first layer alone has a bias and no batch normalisation.
        layers = [layer(3, channels, 3, stride=1, norm=False)]
        for _ in range(4):
            layers.append(layer(channels, channels, 4, stride=2))
            layers.append(layer(channels, 2 * channels, 3, stride=1))
            channels *= 2
        layers.append(layer(channels, channels, 4, stride=2))
        layers.append(layer(channels, channels, 5, stride=1))
        layers.append(layer(channels, 1, 1, stride=1, norm=logit_norm))
        self.layers = nn.ModuleList(layers)
        init_convs(self, lambda kernel: truncated_normal_(kernel, std=0.02))

    def advance(self) -> None:
        """Make one power iteration of every layer's spectral norm."""
        for module in self.modules():
            if isinstance(module, SpectralNormConv2d):
                module.advance()

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge pictures.

        Args:
            x: ``(B, 3, H, W)``, at least 129x129 (for odd shapes a little more: the height's parity decides the padding
                of both axes).

        Returns:
            The logits ``(B, 1, h, w)``, at least float32, and the four feature maps of feature matching (layers 2, 4,
            6 and 8 after activation).

        Raises:
            DataError: a smaller picture, or a batch that ends at a single logit.
        """
        picture_height, picture_width = x.shape[-2:]
        features = []
        for i, layer in enumerate(self.layers[:-2]):
            with without_autocast(x) if i in _FLOAT32_LAYERS else nullcontext():
                x = F.leaky_relu(layer(at_least_float32(x) if i in _FLOAT32_LAYERS else x), _SLOPE)
            if i in _FEATURE_LAYERS:
                features.append(x)
        batch, _, height, width = x.shape
        if min(height, width) < 5:
            raise DataError(
                f"pictures of {picture_width}x{picture_height} are too small for the discriminator: "
                "give 160x160 or more"
            )
        if batch * (height - 4) * (width - 4) * (ranks() if self.sync_batchnorm else 1) == 1:
            raise DataError("the discriminator's batch normalisation needs at least 2 pictures in a batch, got 1")
        x = F.leaky_relu(self.layers[-2](x), _SLOPE)
        # The last normalisation spreads a handful of nearly equal logits, so half precision would show.
        with without_autocast(x):
            return self.layers[-1](at_least_float32(x)), features
