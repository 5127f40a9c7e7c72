"""Models of packages that others wrote for Keras 2: efficientnet 1.1.1 and keras-bert 0.89.0, in small."""


def efficientnet():
    from efficientnet import model, tfkeras

    blocks = model.DEFAULT_BLOCKS_ARGS[:3]
    return tfkeras.EfficientNetB0(weights=None, classes=5, input_shape=(32, 32, 3), blocks_args=blocks)


def bert():
    import keras_bert

    sizes = {"token_num": 20, "pos_num": 6, "seq_len": 6, "embed_dim": 8, "feed_forward_dim": 12}
    return keras_bert.get_model(transformer_num=2, head_num=2, **sizes)
