"""What the networks have in common because the papers do: convolutions, the pre-activated residual block, starts."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import init

from zoo.precision import accumulation_dtype, without_autocast


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3 convolution with bias, zeros beyond the border, same size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class InputConv(nn.Conv2d):
    """3x3 convolution of pictures, which come in any float type and are brought to its weights'.

    The first convolution of a network: guided filter and division give float32 to a network in half precision.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class OutputConv(nn.Conv2d):
    """3x3 convolution that computes in float32 even inside an autocast region.

    The last convolution of a network: bfloat16 would leave 513 of the 1024 levels of a 10-bit picture.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(B, in, H, W)`` of any float type; float32 comes out, or float64."""
        assert self.bias is not None
        dtype = accumulation_dtype(x, self.weight)
        with without_autocast(x):
            return self._conv_forward(x.to(dtype), self.weight.to(dtype), self.bias.to(dtype))


class ResBlock(nn.Module):
    """Residual block with its activations in front, ``x + conv(relu(conv(relu(x))))`` (Deep SR-ITM, Eq. 3; JSI-GAN).

    Shape: ``(B, channels, H, W)``; returns the same.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        # The first ReLU stays out of place: the skip needs x as it came in.
        self.residual = nn.Sequential(
            nn.ReLU(), conv3x3(channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def init_convs(module: nn.Module, init_kernel_: Callable[[Tensor], object]) -> None:
    """Start every convolution in ``module``: kernels by ``init_kernel_``, in place, biases at zero."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            init_kernel_(conv.weight)
            if conv.bias is not None:
                init.zeros_(conv.bias)


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal distribution of mean 0 that is cut at two ``std``, as TensorFlow's ``truncated_normal``."""
    return init.trunc_normal_(tensor, std=std, a=-2 * std, b=2 * std)
