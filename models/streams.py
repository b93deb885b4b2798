"""One stream of the network: the clips of a region, or of several, to a softmax.

A block is a function from tensor to tensor; each of its layers is named after the stream
and its role, such as ``mouth_conv_lstm``.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from microx.models.conv_lstm import ConvLSTM, classic_hard_sigmoid


def paper_block(x: Any, region: str, n_classes: int) -> Any:
    """The stream of the MicroX paper: ConvLSTM, flattened head, softmax.

    Parameters
    ----------
    x : tensor (B, T, H, W, C)
        Pixels in [0, 1]. H and W must be at least 3.
    region : str
        Prefix of every layer's name.
    n_classes : int

    Returns
    -------
    tensor (B, n_classes)
        Rows sum to 1.

    Notes
    -----
    Source: MicroX paper, section on the model, and its released code (second dropout). The
    authors fed 0-255 BGR; here pixels are RGB in [0, 1] for every model (our choice).
    """
    x = ConvLSTM(64, 3, recurrent_activation=classic_hard_sigmoid, name=f"{region}_conv_lstm")(
        x
    )  # (B, H-2, W-2, 64), the last step only
    x = layers.Dropout(0.2, name=f"{region}_dropout")(x)
    x = layers.Flatten(name=f"{region}_flatten")(x)
    x = layers.Dense(256, activation="relu", name=f"{region}_dense")(x)
    x = layers.Dropout(0.3, name=f"{region}_dense_dropout")(x)
    return layers.Dense(n_classes, activation="softmax", name=f"{region}_softmax")(x)


def compact_block(x: Any, region: str, n_classes: int) -> Any:
    """A small stream: strided convolutions, a ConvLSTM on 4 x 4 cells, a pooled head.

    Parameters
    ----------
    x : tensor (B, T, H, W, C)
        Pixels in [0, 1]. H and W must be at least 17.
    region : str
        Prefix of every layer's name.
    n_classes : int

    Returns
    -------
    tensor (B, n_classes)
        Rows sum to 1.

    Notes
    -----
    Our choice, by trial on drawn actors (mouth alone, people never seen, mean of two splits):
    without the group norms accuracy fell by about 0.06, with mean and maximum over the whole
    map in place of the 2 x 2 head by about 0.15: where something moved matters. At 32 pixels
    the map is 2 x 2 already and the pool leaves it as it is; larger crops give 2 x 2 or 3 x 3.
    """
    # Each channel of a clip loses its mean and scale, and with them skin tone and light.
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, name=f"{region}_standardise"
    )(x)
    for step, filters in enumerate((16, 24, 32), start=1):
        # A kernel of one frame: each frame is looked at by itself.
        x = layers.Conv3D(
            filters, (1, 3, 3), strides=(1, 2, 2), padding="same", name=f"{region}_conv_{step}"
        )(x)  # (B, T, H / 2**step, W / 2**step, filters)
        x = layers.GroupNormalization(4, center=False, scale=False, name=f"{region}_norm_{step}")(x)
        x = layers.ReLU(name=f"{region}_relu_{step}")(x)
    x = ConvLSTM(32, 3, name=f"{region}_conv_lstm")(x)  # (B, H / 8 - 2, W / 8 - 2, 32)
    cell = max(1, x.shape[1] // 2)
    x = layers.AveragePooling2D(cell, padding="same", name=f"{region}_pool")(x)
    x = layers.Flatten(name=f"{region}_flatten")(x)
    x = layers.Dropout(0.3, name=f"{region}_dropout")(x)
    return layers.Dense(n_classes, activation="softmax", name=f"{region}_softmax")(x)
