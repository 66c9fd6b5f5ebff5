"""What the authors' files call the parameters of each network: their name to ours, in their order of creation.

Layouts differ as well. Their kernels are (height, width, in, out), so ours are the same with the axes (3, 2, 0, 1).
JSInet's convolution before the pixel shuffle, ``image_reconstruction/conv/1``, has TensorFlow's order of channels:
theirs is (dy scale + dx) 64 + c where ours is c scale² + dy scale + dx. Spectral norm's u is (1, out) there.
"""

from __future__ import annotations


def deep_sritm_names(scale: int, modulation: bool = True) -> dict[str, str]:
    """Parameters of :class:`~zoo.nets.DeepSRITM` in the authors' MatConvNet files.

    Args:
        scale: 1, 2 or 4; decides which index the last convolutions have.
        modulation: with the 36 tensors that the first training stage doesn't have.
    """
    layers: dict[str, str] = {}
    for ours, conv, suffix in (("base", "conv", "b"), ("detail", "convd", "d")):
        if modulation:
            layers |= {f"conv{suffix}s_{i + 1}": f"{ours}.modulation_features.{2 * i}" for i in range(3)}
        layers[f"{conv}_1"] = f"{ours}.first"
        for block in range(6):
            prefix, first = f"{ours}.blocks.{block}", 2 * block + 2
            # A skip block has its 1x1 convolution in front.
            skip = ours == "detail" and block > 0
            if skip:
                layers[f"dr_{first - 1}"] = f"{prefix}.residual.1"
            layers[f"{conv}_{first}"] = f"{prefix}.residual.{2 if skip else 1}"
            layers[f"{conv}_{first + 1}"] = f"{prefix}.residual.{4 if skip else 3}"
            if modulation and block % 2:
                layers[f"conv{suffix}m_{block}"] = f"{prefix}.modulation.0"
                layers[f"conv{suffix}m_{block + 1}"] = f"{prefix}.modulation.2"
    layers |= {"dr_13": "fusion.1", "conv_14": "fusion.2"}
    for block in range(10):
        layers[f"conv_{2 * block + 15}"] = f"fusion.{block + 3}.residual.1"
        layers[f"conv_{2 * block + 16}"] = f"fusion.{block + 3}.residual.3"
    layers |= {"conv_35": "upsampling.1", "conv_36": "upsampling.3"}
    layers |= {"conv_37": "upsampling.6", "conv_38": "head"} if scale == 4 else {"conv_37": "head"}
    return _kernel_and_bias(layers)


def multipurpose_cnn_names() -> dict[str, str]:
    """Parameters of :class:`~zoo.nets.MultipurposeCNN` in the authors' MatConvNet files."""
    names: dict[str, str] = {}
    for ours, branch in (("sr", "SR"), ("itm", "HDR")):
        for i in range(6):
            layer = f"{ours}.{2 * i}" if i < 3 else f"{ours}_output.{2 * (i - 3)}"
            names |= {f"conv_{i + 1}f_{branch}": f"{layer}.weight", f"conv_{i + 1}b_{branch}": f"{layer}.bias"}
    return names | _kernel_and_bias({f"conv_{i + 4}": f"joint.{2 * i}" for i in range(4)})


def jsinet_names() -> dict[str, str]:
    """Variables of :class:`~zoo.nets.JSINet` in the authors' TensorFlow checkpoints, without ``Network/``."""
    layers: dict[str, str] = {}
    for ours, theirs, last in (
        ("lce", "local_contrast_enhancement", {"conv_k": "filters"}),
        ("dr", "detail_restoration", {"conv_k_h": "horizontal", "conv_k_v": "vertical"}),
        ("ir", "image_reconstruction", {"conv/1": "upsampling.1", "conv/2": "head"}),
    ):
        layers[f"{theirs}/conv/0"] = f"{ours}.first"
        for block in range(4):
            layers[f"{theirs}/res_block/{block}/conv/0"] = f"{ours}.blocks.{block}.residual.1"
            layers[f"{theirs}/res_block/{block}/conv/1"] = f"{ours}.blocks.{block}.residual.3"
        layers |= {f"{theirs}/{name}": f"{ours}.{layer}" for name, layer in last.items()}
    return {
        f"{theirs}/{letter}": f"{ours}.{tensor}"
        for theirs, ours in layers.items()
        for letter, tensor in (("w", "weight"), ("b", "bias"))
    }


def discriminator_names() -> dict[str, str]:
    """Variables of :class:`~zoo.nets.Discriminator`, without the scope that tells D1 from D2."""
    names: dict[str, str] = {}
    for i in range(12):
        names |= {f"d_conv/{i + 1}/kernel": f"layers.{i}.conv.weight", f"d_conv/{i + 1}/u": f"layers.{i}.conv.u"}
        if i == 0:
            names["d_conv/1/bias"] = "layers.0.conv.bias"
        else:
            names |= {
                f"d_bn/{i}/beta": f"layers.{i}.norm.bias",
                f"d_bn/{i}/gamma": f"layers.{i}.norm.weight",
                f"d_bn/{i}/moving_mean": f"layers.{i}.norm.running_mean",
                f"d_bn/{i}/moving_variance": f"layers.{i}.norm.running_var",
            }
    return names


def _kernel_and_bias(layers: dict[str, str]) -> dict[str, str]:
    """MatConvNet's pairs: ``conv_1`` has the kernel ``conv_1f`` and the bias ``conv_1b``."""
    return {
        f"{theirs}{letter}": f"{ours}.{tensor}"
        for theirs, ours in layers.items()
        for letter, tensor in (("f", "weight"), ("b", "bias"))
    }
