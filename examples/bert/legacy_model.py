"""Google's BERT, as the package `bert-tensorflow` ships it, in a small configuration; its loss and its own Adam."""

import tensorflow as tf
from bert import modeling, optimization

SETTINGS = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
}


def forward(inputs, training):
    model = modeling.BertModel(
        modeling.BertConfig(**SETTINGS),
        is_training=training,
        input_ids=inputs["ids"],
        input_mask=inputs["mask"],
        token_type_ids=inputs["segments"],
    )
    return {"sequence": model.get_sequence_output(), "pooled": model.get_pooled_output()}


def loss(outputs, batch):
    mask = tf.cast(batch["mask"], tf.float32)[:, :, None]
    return tf.reduce_mean(tf.square(outputs["sequence"] * mask - 0.5)) + tf.reduce_mean(tf.square(outputs["pooled"]))


def optimizer():
    return optimization.AdamWeightDecayOptimizer(
        learning_rate=1e-3, weight_decay_rate=0.01, exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"]
    )
