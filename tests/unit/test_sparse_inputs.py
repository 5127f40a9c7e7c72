"""Sparse inputs of a configuration: a matrix that SciPy saved, or a share of places that is filled."""

from collections import namedtuple

import numpy as np
import pytest
import tomllib

from lockstep.check.proof import inputs as second
from lockstep.common.arrays import checked_inputs
from lockstep.common.errors import InputError
from lockstep.config.arrays import make_batches, make_inputs, read_input
from lockstep.config.reading import Configuration
from lockstep.config.tables import Table

DENSE = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, 0.0]], np.float32)
ROWS, COLUMNS = np.nonzero(DENSE)


def inputs(folder, text, batches=1):
    """Makes the inputs that the table of an input `adj` says."""
    spec = read_input(Table("[inputs.adj]", tomllib.loads(text)), folder)
    return make_batches(Configuration(folder, {}, {}, {"adj": spec}, batches=batches))


def dense(arrays):
    """Returns what the three arrays of `adj` stand for."""
    whole = np.zeros(arrays["adj/shape"], arrays["adj/values"].dtype)
    whole[tuple(arrays["adj/indices"].T)] = arrays["adj/values"]
    return whole


def saved(folder, kind, **members):
    """Writes a file as `scipy.sparse.save_npz` does."""
    np.savez(folder / "adj.npz", format=kind, shape=np.array(DENSE.shape), **members)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (b"coo", {"row": np.flip(ROWS), "col": np.flip(COLUMNS), "data": np.flip(DENSE[ROWS, COLUMNS])}),
        (b"csr", {"indices": COLUMNS, "indptr": [0, 1, 2], "data": DENSE[ROWS, COLUMNS]}),
        (b"csc", {"indices": [1, 0], "indptr": [0, 1, 2, 2], "data": np.array([2.0, 1.5], np.float32)}),
        ("coo", {"row": [0, 1, 0], "col": [1, 0, 1], "data": np.array([1.0, 2.0, 0.5], np.float32)}),
    ],
)
def test_every_format_is_read_row_by_row_and_one_place_is_added_up(tmp_path, kind, members):
    saved(tmp_path, kind, **members)
    (made,) = inputs(tmp_path, 'path = "adj.npz"')
    assert list(made) == ["adj/indices", "adj/values", "adj/shape"]
    assert (made["adj/indices"].dtype, made["adj/shape"].tolist()) == (np.int64, [2, 3])
    assert made["adj/indices"].tolist() == [[0, 1], [1, 0]]
    np.testing.assert_array_equal(dense(made), DENSE)


@pytest.mark.parametrize(
    ("kind", "members", "told"),
    [
        (b"dia", {"data": [1.0], "offsets": [0]}, "of the format 'dia', and coo, csr and csc are read"),
        (b"coo", {"row": [2], "col": [0], "data": [1.0]}, "a value lies outside of 2 x 3"),
        (b"coo", {"row": [0, 1], "col": [0], "data": [1.0]}, "(2,) rows, (1,) columns and (1,) values"),
        (b"csr", {"indices": [0], "indptr": [0, 2], "data": [1.0]}, "indptr does not count its values"),
        (b"coo", {"row": [0], "col": [0], "data": [np.nan]}, "1 value that is NaN or infinite"),
        (b"coo", {"row": [0], "data": [1.0]}, "has no array 'col'"),
    ],
)
def test_what_is_no_whole_matrix_is_refused(tmp_path, kind, members, told):
    saved(tmp_path, kind, **members)
    with pytest.raises(InputError) as error:
        inputs(tmp_path, 'path = "adj.npz"')
    assert told.replace("'", '"') in str(error.value).replace("'", '"')
    assert "adj.npz" in str(error.value)


def test_a_file_of_another_shape_or_in_batches_is_refused(tmp_path):
    saved(tmp_path, b"coo", row=ROWS, col=COLUMNS, data=DENSE[ROWS, COLUMNS])
    with pytest.raises(InputError, match=r"shape is \[3, 3\], but adj.npz holds \[2, 3\]"):
        inputs(tmp_path, 'path = "adj.npz"\nshape = [3, 3]')
    with pytest.raises(InputError, match="not cut into batches"):
        inputs(tmp_path, 'path = "adj.npz"', batches=2)


def test_a_density_fills_a_share_of_the_places(tmp_path):
    one, other = inputs(tmp_path, "shape = [30, 40]\ndensity = 0.25", batches=2)
    assert 0.2 < len(one["adj/values"]) / 1200 < 0.3
    assert one["adj/values"].dtype == np.float32
    assert not np.array_equal(one["adj/indices"], other["adj/indices"])
    (faint,) = inputs(tmp_path, "shape = [3, 3]\ndensity = 1e-9")
    assert len(faint["adj/values"]) == 1


@pytest.mark.parametrize("density", ["0", "1.5", "-1.0"])
def test_a_density_is_a_share(tmp_path, density):
    with pytest.raises(InputError, match="share of a sparse tensor's places"):
        inputs(tmp_path, f"shape = [3, 3]\ndensity = {density}")


def test_a_second_input_has_other_values_in_the_same_places(tmp_path):
    (made,) = inputs(tmp_path, "shape = [4, 5]\ndensity = 0.5")
    other = second.generic(made)
    assert np.array_equal(other["adj/indices"], made["adj/indices"])
    assert np.array_equal(other["adj/shape"], made["adj/shape"])
    assert not np.array_equal(other["adj/values"], made["adj/values"])
    square = {**made, "adj/shape": np.array([8, 8])}
    assert second.blind_spots(square) == []


def test_from_python_a_sparse_value_is_taken_apart():
    value = namedtuple("SparseTensorValue", "indices values dense_shape")([[0, 1]], np.ones(1, np.float32), [2, 2])
    made = checked_inputs({"adj": value, "x": np.ones(3)})
    assert list(made) == ["adj/indices", "adj/values", "adj/shape", "x"]
    assert made["adj/indices"].dtype == np.int64


def test_an_archive_of_plain_arrays_is_no_matrix(tmp_path):
    np.savez(tmp_path / "adj.npz", adj=DENSE, shape=np.ones(2))
    spec = read_input(Table("[inputs.adj]", {"path": "adj.npz"}), tmp_path)
    assert list(make_inputs(Configuration(tmp_path, {}, {}, {"adj": spec}))) == ["adj"]
