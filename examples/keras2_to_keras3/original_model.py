"""A small image classifier in Keras 2: tf.keras up to TensorFlow 2.15, or tf_keras on today's."""

import tensorflow as tf

try:
    import tf_keras as keras
except ImportError:
    keras = tf.keras

layers = keras.layers


def build():
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.LeakyReLU(0.1)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(8, 3, activation="relu", kernel_regularizer=keras.regularizers.l2(1e-3))(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    model = keras.Model(image, layers.Dense(5)(x))
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
