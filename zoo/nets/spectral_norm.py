"""Convolution with spectral norm whose power iteration is a step of its own.

PyTorch's two spectral norms iterate at every forward call in training mode. JSI-GAN's real and fake pass must use the
same sigma, and each of a step's two runs iterates once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.precision import at_least_float32, without_autocast

_EPS = 1e-12  # below which a squared norm isn't divided by, as in TensorFlow's l2_normalize


class SpectralNormConv2d(nn.Conv2d):
    """Convolution with ``weight / sigma`` as its kernel (Miyato et al., ICLR 2018), without padding.

    ``u`` estimates the left singular vector of ``M``, the weight as ``(out_channels, -1)``. :meth:`advance` makes one
    power iteration, ``v = l2n(Mᵀ u)``, ``u = l2n(M v)``, and every forward call until the next one uses
    ``sigma = uᵀ M v`` with that pair; u and v are constants for the gradient, M isn't. Computed at least in float32.

    Before the first :meth:`advance`, and after loading a state, a forward call uses the pair that :meth:`advance` would
    leave, and stores nothing.

    Args:
        kernel_size: side of the kernel.

    Attributes:
        u: ``(out_channels,)``, starts as N(0, 1), not normalised; saved with the state.
        v: the other vector of the last iteration, or none; not saved, since every iteration makes it from ``u``.
    """

    u: Tensor
    v: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, bias=bias)
        self.register_buffer("u", torch.randn(out_channels))
        self.register_buffer("v", None, persistent=False)

    @torch.no_grad()
    def advance(self) -> None:
        """Make one power iteration with the weight as it is now."""
        u, self.v = self._iteration()
        # In place: wrappers such as DistributedDataParallel hold on to the buffer.
        self.u.copy_(u)

    def sigma(self) -> Tensor:
        """Estimate of the weight's largest singular value, a scalar, differentiable by the weight."""
        if self.v is None:
            u, v = self._iteration()
        else:
            # A copy, so that the next iteration doesn't change what backward needs.
            u, v = self.u.clone(), self.v
        with without_autocast(self.weight):
            return torch.dot(at_least_float32(u), self._matrix() @ v)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.sigma(), self.bias, self.stride)

    @torch.no_grad()
    def _iteration(self) -> tuple[Tensor, Tensor]:
        with without_autocast(self.weight):
            matrix = self._matrix()
            v = _l2_normalised(at_least_float32(self.u) @ matrix)
            return _l2_normalised(matrix @ v), v

    def _matrix(self) -> Tensor:
        return at_least_float32(self.weight).flatten(1)

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.v = None  # it belongs to the weight and u that were there before


def _l2_normalised(z: Tensor) -> Tensor:
    return z / z.square().sum().clamp(min=_EPS).sqrt()
