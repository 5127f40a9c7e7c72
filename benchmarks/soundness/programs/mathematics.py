"""Linear algebra, Fourier transforms and dtypes."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats, integers
from benchmarks.soundness.lazily import tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("mathematics")
program = PROGRAMS.program


def _positive(x):
    return tf.matmul(x, x, transpose_a=True) + 0.5 * tf.eye(int(x.shape[-1]), dtype=x.dtype)


@program(x=floats(2, 3, 4))
def einsums(x):
    w = tf.get_variable("w", [4, 2, 3])
    return tf.einsum("bic,chk->bhik", x, w), tf.einsum("bic,bjc->bij", x, x), tf.einsum("bii->bi", x[:, :, :3])


@program(x=floats(2, 3, 4))
def tensordots(x):
    w = tf.get_variable("w", [4, 5])
    return tf.tensordot(x, w, [[2], [0]]), tf.tensordot(x, x, [[0, 2], [0, 2]])


@program(x=floats(2, 3, 4))
def matmuls(x):
    w = tf.get_variable("w", [4, 4])
    wide = tf.tile(w[None], [2, 1, 1])
    return (
        tf.matmul(x, wide),
        tf.matmul(x, wide, transpose_b=True),
        tf.matmul(x, x, adjoint_a=True),
        tf.linalg.matvec(w, w[0]),
    )


@program(x=floats(4, 3))
def cholesky_and_solve(x):
    matrix = _positive(x * tf.get_variable("w", [3], initializer=tf.ones_initializer()))
    factor = tf.cholesky(matrix)
    return factor, tf.cholesky_solve(factor, tf.ones([3, 1])), tf.matrix_triangular_solve(factor, tf.ones([3, 2]))


@program(x=floats(4, 3))
def inverse_and_determinant(x):
    matrix = _positive(x * tf.get_variable("w", [3], initializer=tf.ones_initializer()))
    return (
        tf.matrix_inverse(matrix),
        tf.matrix_determinant(matrix),
        tf.matrix_solve(matrix, tf.ones([3, 1])),
        tf.trace(matrix),
    )


@program(x=floats(4, 3))
def singular_values_and_eigenvalues(x):
    y = x * tf.get_variable("w", [3], initializer=tf.ones_initializer())
    return tf.svd(y, compute_uv=False), tf.self_adjoint_eigvals(_positive(y))


@program(x=floats(2, 5, 5, 3))
def gram_matrices(x):
    y = tf.reshape(tf.layers.conv2d(x, 4, 2), [2, 16, 4])
    return tf.matmul(y, y, transpose_a=True) / 16.0


@program(x=floats(5, 3))
def gaussian_process(x):
    scale = tf.exp(tf.get_variable("scale", [], initializer=tf.zeros_initializer()))
    distance = tf.reduce_sum((x[:, None] - x[None]) ** 2, -1)
    factor = tf.cholesky(tf.exp(-0.5 * distance / scale) + 0.1 * tf.eye(5))
    return tf.reduce_sum(tf.log(tf.diag_part(factor))), tf.matrix_triangular_solve(factor, x)


@program(x=floats(2, 8))
def fourier_transforms(x):
    y = x * tf.get_variable("w", [8])
    spectrum = tf.spectral.rfft(y)
    return tf.abs(spectrum), tf.spectral.irfft(spectrum), tf.real(tf.fft(tf.cast(y, tf.complex64)))


@program(x=floats(1, 64))
def short_time_spectrum(x):
    stft = tf.signal.stft(x * tf.get_variable("gain", []), 16, 8)
    mel = tf.signal.linear_to_mel_weight_matrix(6, 9, 8000, 100.0, 3800.0)
    return tf.log(tf.tensordot(tf.abs(stft), mel, 1) + 1e-3)


@program(x=floats(3, 4), y=floats(3, 4, seed=3))
def complex_numbers(x, y):
    z = tf.complex(x, y) * tf.complex(tf.get_variable("a", [4]), tf.get_variable("b", [4]))
    return tf.real(z), tf.imag(tf.conj(z)), tf.abs(z), tf.angle(z)


@program(x=floats(3, 4))
def complex_variable(x):
    w = tf.get_variable("w", [4], tf.complex64, initializer=tf.constant_initializer(0.5 + 0.25j), trainable=False)
    return tf.real(tf.cast(x, tf.complex64) * w) * tf.get_variable("v", [4])


@program(x=floats(3, 4, dtype="float64"))
def doubles(x):
    return tf.layers.dense(tf.layers.dense(x, 5, tf.tanh), 2)


@program(x=floats(3, 4, dtype="float16"))
def halves(x):
    return tf.layers.dense(x, 5, tf.nn.relu)


@program(x=floats(3, 4))
def halves_inside(x):
    w = tf.get_variable("w", [4, 4])
    return tf.cast(tf.matmul(tf.cast(x, tf.float16), tf.cast(w, tf.float16)), tf.float32)


@program(x=floats(3, 4))
def bfloats_inside(x):
    w = tf.get_variable("w", [4, 4])
    return tf.to_float(tf.matmul(tf.to_bfloat16(x), tf.to_bfloat16(w)))


@program(n=integers(3, 4, high=50))
def integers_alone(n):
    return n * 3 - 7, tf.bitwise.bitwise_and(n, 12), tf.bitwise.left_shift(n, 2), tf.reduce_sum(n), tf.cast(n, tf.uint8)


@program(n=integers(2, 6, high=256, dtype="uint8"))
def bytes_of_an_image(n):
    return tf.image.convert_image_dtype(n, tf.float32) * tf.get_variable("w", [6]), tf.cast(n, tf.int32) + 300


@program(x=floats(3, 4))
def booleans(x):
    positive, large = x > 0.0, tf.abs(x) > 0.5
    both = tf.logical_and(positive, tf.logical_not(large))
    return (
        both,
        tf.reduce_any(both, 1),
        tf.reduce_all(positive, 0),
        tf.to_float(tf.logical_xor(positive, large)) * tf.get_variable("w", [4]),
    )


@program(x=floats(3, 4))
def quantized_inside(x):
    w = tf.get_variable("w", [4, 4])
    y = tf.matmul(x, tf.quantization.fake_quant_with_min_max_args(w, -1.0, 1.0))
    return tf.quantization.fake_quant_with_min_max_vars(y, -2.0, 2.0)


@program(x=floats(3, 4))
def sums_of_many_kinds(x):
    w = tf.get_variable("w", [4])
    return (
        tf.add_n([x, x * w, w - x]),
        tf.accumulate_n([x, x * w]),
        tf.nn.bias_add(x, w),
        tf.nn.xw_plus_b(x, tf.eye(4), w),
    )
