"""Tensor files in the safetensors format: no code in them, read through a memory map.

The format (huggingface/safetensors, "Format"): eight bytes with the length of a JSON header, little-endian; the
header, name -> dtype, shape and place of the data; the data, without holes.
"""

import functools
import json
import mmap
import os
import struct
import weakref
from typing import Any, BinaryIO, Callable, Dict, Iterable, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from .failures import RecordingError
from .opening import open_regular, shortened

STORED_DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
"""NumPy's name of a dtype -> the format's."""

# What the format has no word for: complex numbers are stored as pairs of real ones, strings as offsets and bytes.
_COMPLEX = {"complex64": "float32", "complex128": "float64"}
_DTYPE_NAMES = {stored: name for name, stored in STORED_DTYPES.items()}
_ITEM_BYTES = {name: 1 if name.startswith("float8") else 2 if name == "bfloat16" else np.dtype(name).itemsize
               for name in STORED_DTYPES}  # fmt: skip
_LARGEST_HEADER = 100 * 1000 * 1000  # as the format's own reader has it
_ALIGNMENT = 64
_LARGEST = (1 << 63) - 1
MOST_DIMENSIONS = 64
"""Of NumPy 2; older ones stop at 32."""

Place = NamedTuple("Place", [("dtype", str), ("shape", Tuple[int, ...]), ("start", int), ("size", int)])
"""Where a tensor lies in a file: NumPy's name of its dtype, its shape, first byte from the file's start, bytes."""

Stored = NamedTuple("Stored", [("dtype", str), ("shape", Tuple[int, ...]), ("array", np.ndarray)])
"""A tensor as it is stored: its own dtype and shape, and an array that the format can hold."""


def stored(array: np.ndarray) -> Stored:
    """Returns a tensor as it is to be stored.

    Args:
        array: Of a dtype in `STORED_DTYPES`, complex, or of strings (`S`, `U`, or objects that are bytes or str).

    Raises:
        RecordingError: The dtype cannot be stored.
    """
    shape = tuple(int(size) for size in array.shape)
    if array.dtype.kind in "SUO":
        return Stored("string", shape, _packed(array))
    name = array.dtype.name
    if name in _COMPLEX:
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(shape)
        return Stored(name, shape, plain.reshape(-1).view(_COMPLEX[name]).reshape(shape + (2,)))
    if name not in STORED_DTYPES:
        raise RecordingError(
            "a tensor of dtype %s cannot be recorded; known are %s, complex64, complex128 and strings."
            % (name, ", ".join(STORED_DTYPES))
        )
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and not _LITTLE):
        array = array.astype(array.dtype.newbyteorder("<"))
    return Stored(name, shape, np.ascontiguousarray(array).reshape(shape))


def restored(dtype: str, shape: Tuple[int, ...], array: np.ndarray) -> np.ndarray:
    """Returns the tensor that `stored` took apart.

    Raises:
        RecordingError: The stored array does not hold such a tensor.
    """
    place = Place(dtype_name(array.dtype), array.shape, 0, int(array.nbytes))
    refuse_other(dtype, shape, place)
    if dtype == "string":
        return _unpacked(array, shape)
    if dtype in _COMPLEX:
        return array.reshape(-1).view(dtype).reshape(shape)
    return array


def refuse_other(dtype: str, shape: Tuple[int, ...], place: Place) -> None:
    """Refuses a place that does not hold a tensor of that dtype and shape, without looking into it.

    Raises:
        RecordingError: It holds another one.
    """
    if dtype == "string":
        if place.dtype != "uint8" or len(place.shape) != 1 or place.size < 8 * (count(shape) + 1):
            raise RecordingError("a tensor of strings is damaged: it is too short for its shape %s." % (tuple(shape),))
    elif dtype in _COMPLEX:
        if place.dtype != _COMPLEX[dtype] or place.shape != tuple(shape) + (2,):
            raise RecordingError("a tensor of %s is not stored as pairs of %s." % (dtype, _COMPLEX[dtype]))
    elif place.dtype != dtype or place.shape != tuple(shape):
        raise RecordingError(
            "a tensor is described as %s %s and stored as %s %s."
            % (shortened(dtype), tuple(shape), place.dtype, place.shape)
        )


def write(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, as `stored` gives them, into a new file.

    Raises:
        OSError: The file exists or cannot be written.
    """
    header: Dict[str, Any] = {}
    # Wide items first, as the format's own writer does it: then each tensor lies at a multiple of its item size.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    end = 0
    for name in names:
        array = arrays[name]
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": STORED_DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        end = offsets[1]
    text = _encoded(header)
    with open(path, "xb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name in names:
            # As bytes: not every dtype (bfloat16) lets Python see its buffer.
            file.write(arrays[name].reshape(-1).view(np.uint8).data)


def _encoded(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return text + b" " * (-(8 + len(text)) % _ALIGNMENT)


class TensorFile:
    """A tensor file behind a memory map: the header is read at once, of the rest what is used.

    One map and one open file serve all tensors, for as long as one of them or this object lives: a map for each would
    have a thousand files open where systems allow as many.

    Args:
        path: The file.
        numpy_dtype: Turns the name of a dtype into the dtype; bfloat16 is not NumPy's own.

    Attributes:
        places: Name -> where the tensor lies; checked against the file's size.

    Raises:
        RecordingError: The file is cut short, too long, or no such file.
        OSError: It cannot be read.
    """

    def __init__(self, path: str, numpy_dtype: Callable[[str], Any] = np.dtype) -> None:
        self._path = path
        self._numpy_dtype = numpy_dtype
        with open_regular(path, _LARGEST) as file:
            self._header, self.places = _places(path, file)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def tensor(self, name: str) -> np.ndarray:
        """Returns a stored tensor, a view of the file; the memory of what was read of it is given back with it."""
        place = self.places[name]
        dtype = self._numpy_dtype(place.dtype)
        if not place.size:
            try:
                return np.zeros(place.shape, dtype)
            except ValueError:  # NumPy counts the other dimensions of an empty array too
                raise RecordingError("%s holds an empty tensor of shape %s, beyond what NumPy can hold."
                                     % (_name(self._path), place.shape))  # fmt: skip
        raw = np.frombuffer(self._map, np.uint8, place.size, place.start)
        if hasattr(mmap, "MADV_DONTNEED"):  # Python 3.8, not on Windows
            # Pages that a neighbour or a second view still needs are read again: they are the file's.
            first = place.start // mmap.PAGESIZE * mmap.PAGESIZE
            end = place.start + place.size
            weakref.finalize(raw, self._map.madvise, mmap.MADV_DONTNEED, first, end - first).atexit = False
        try:
            array: np.ndarray = raw.view(dtype).reshape(place.shape)
        except ValueError as error:  # more dimensions than this NumPy knows
            raise RecordingError("a tensor in %s cannot be held: %s." % (_name(self._path), error))
        return array

    def refuse_other_header(self) -> None:
        """Refuses a header that says the same in other bytes than `write` puts there.

        Raises:
            RecordingError: It was changed, though in a way that does no harm.
        """
        if self._header != _encoded(json.loads(self._header.decode("utf-8", "surrogatepass"))):
            raise RecordingError("the header of %s is not what was written." % _name(self._path))


def _places(path: str, file: BinaryIO) -> Tuple[bytes, Dict[str, Place]]:
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
    if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        raise RecordingError("%s is no tensor file, or is cut short within its header." % _name(path))
    text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise RecordingError("the header of %s is damaged: it is no JSON." % _name(path))
    if not isinstance(header, dict):
        raise RecordingError("the header of %s is damaged: it is no JSON object." % _name(path))
    header.pop("__metadata__", None)
    found = {name: _place(path, name, entry, 8 + length) for name, entry in header.items()}
    end = 8 + length
    for place in sorted(found.values(), key=lambda place: (place.start, place.size)):
        if place.start != end:
            raise RecordingError("the header of %s is damaged: its tensors overlap or leave holes." % _name(path))
        end = place.start + place.size
    if end != size:
        raise RecordingError("%s holds %d bytes; its header speaks of %d." % (_name(path), size, end))
    return text, found


def _place(path: str, name: str, entry: Any, data_start: int) -> Place:
    damaged = RecordingError(
        "the header of %s is damaged: what it says of %s cannot be." % (_name(path), shortened(repr(name)))
    )
    try:
        dtype = _DTYPE_NAMES[entry["dtype"]]
        shape, (begin, end) = list(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise damaged
    if not is_shape(shape) or not is_shape([begin, end]):
        raise damaged
    if count(shape) * _ITEM_BYTES[dtype] != end - begin:
        raise damaged
    return Place(dtype, tuple(shape), data_start + begin, end - begin)


def is_shape(sizes: Sequence[Any]) -> bool:
    """Tells whether sizes are those of an array: whole numbers of 63 bits, no more of them than there are dimensions.

    >>> is_shape([2, 3]), is_shape([-1]), is_shape([True]), is_shape([1] * 65), is_shape([1 << 63])
    (True, False, False, False, False)
    """
    return len(sizes) <= MOST_DIMENSIONS and all(type(size) is int and 0 <= size <= _LARGEST for size in sizes)


def _packed(array: np.ndarray) -> np.ndarray:
    items = [item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass") for item in array.flat]
    ends = np.cumsum([0] + [len(item) for item in items]).astype("<u8")
    return np.frombuffer(ends.tobytes() + b"".join(items), np.uint8)


def _unpacked(packed: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    start = 8 * (count(shape) + 1)
    if packed.dtype != np.uint8 or packed.ndim != 1 or packed.size < start:
        raise RecordingError("a tensor of strings is damaged: it is too short for its shape %s." % (tuple(shape),))
    ends = [int(end) for end in packed[:start].view("<u8")]
    if ends[0] != 0 or ends[-1] != packed.size - start or ends != sorted(ends):
        raise RecordingError("a tensor of strings is damaged: its offsets do not fit its length.")
    data = packed[start:].tobytes()
    strings = np.empty(len(ends) - 1, object)
    strings[:] = [data[begin:end] for begin, end in zip(ends[:-1], ends[1:])]
    try:
        return strings.reshape(shape)
    except ValueError:  # an empty one of sizes that NumPy counts all the same
        raise RecordingError("a tensor of strings is damaged: NumPy cannot hold its shape %s." % (tuple(shape),))


@functools.lru_cache(maxsize=None)
def dtype_name(dtype: Any) -> str:
    """Returns `dtype.name`, which NumPy makes up anew each time, in eight microseconds."""
    return str(dtype.name)


def count(shape: Iterable[int]) -> int:
    """Returns the elements of a shape: a Python integer, which does not overflow."""
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _name(path: str) -> str:
    return os.path.basename(path)


_LITTLE = np.dtype("<i4") == np.dtype("i4")
