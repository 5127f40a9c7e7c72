"""A trace on disk: a folder of tensor files and one manifest, which is written last.

What is being written lies in a folder of another name beside the target until it is whole, so that nothing half
written can be taken for a trace, whenever the recording is killed. The manifest holds a checksum of each tensor and
one of itself. Nothing in a trace is ever executed while it is read, and no file outside its folder is opened.
"""

import errno
import hashlib
import json
import os
import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

import numpy as np

from . import claims, tensors
from .checksum import checksum
from .failures import RecordingError
from .opening import open_regular, shortened

FORMAT = "lockstep-trace"
VERSION = 1
MANIFEST = "manifest.json"
SHARD_BYTES = 2 << 30
"""A tensor file holds at most this, or one tensor."""

_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")
_LARGEST_MANIFEST = 256 << 20
_LARGEST_FILE = (2 << 30) - 1
"""What a serialized graph, of which there are no larger ones, may take."""
BESIDE = frozenset({"last-used"})
"""What else may lie in the folder of a trace: when a kept one was used."""


class TraceWriter:
    """Writes one trace; used as a context manager, it leaves nothing behind unless `finish` was reached.

    Args:
        target: The folder to be made.
        replace: Whether a trace of that name may be replaced; anything else there never is.

    Raises:
        RecordingError: The target exists, its parent folder does not, or the disk is full.
    """

    def __init__(self, target: str, replace: bool = False) -> None:
        self._target = os.path.abspath(target)
        self._replace = replace
        parent = os.path.dirname(self._target)
        if not os.path.isdir(parent):
            raise RecordingError("%s cannot be written: there is no folder %s." % (target, parent))
        self._refuse_existing(target)
        self._claim: Optional[claims.Claim] = None
        self.folder = ""
        self._known: Dict[Tuple[str, Tuple[int, ...], str], Dict[str, Any]] = {}
        self._files = 0
        self.bytes_written = 0

    def __enter__(self) -> "TraceWriter":
        with _told("making a folder beside %s" % self._target):
            self._claim = claims.beside(self._target)
            self.folder = self._claim.path("trace")
            os.mkdir(self.folder)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._claim is not None:
            self._claim.remove()

    def add(self, arrays: Mapping[str, np.ndarray]) -> Dict[str, Dict[str, Any]]:
        """Writes tensors, and returns what the manifest has to say of each.

        A tensor that was written before, by whatever name, is not written again.

        Raises:
            RecordingError: A dtype cannot be stored, or the disk is full.
        """
        entries: Dict[str, Dict[str, Any]] = {}
        shard: Dict[str, np.ndarray] = {}
        size = 0
        for name, array in arrays.items():
            dtype, shape, plain = tensors.stored(np.asarray(array))
            identity = (dtype, shape, checksum(plain.reshape(-1).view(np.uint8)))
            if identity not in self._known:
                if shard and size + plain.nbytes > SHARD_BYTES:
                    self._write(shard)
                    shard, size = {}, 0
                key = str(len(self._known))
                entry = {"dtype": dtype, "shape": list(shape), "checksum": identity[2]}
                self._known[identity] = dict(entry, file=self._file_name(), key=key)
                shard[key] = plain
                size += plain.nbytes
            entries[name] = self._known[identity]
        if shard:
            self._write(shard)
        return entries

    def add_groups(self, groups: Mapping[str, Mapping[str, np.ndarray]]) -> Dict[str, Dict[str, Dict[str, Any]]]:
        """Writes several groups of tensors into as few files as they fit in; see `add`."""
        together = {}
        for group, named in groups.items():
            together.update({json.dumps([group, name]): array for name, array in named.items()})
        entries = self.add(together)
        return {group: {name: entries[json.dumps([group, name])] for name in named} for group, named in groups.items()}

    def add_run(self, setting: str, names: Mapping[str, str], run: Any) -> Dict[str, Any]:
        """Writes what one run did, and returns its entry in the manifest.

        Args:
            setting: Where its variables started from.
            names: Key of each variable that was filled -> the name that its values are a hash of; these values need no
                file.
            run: Anything with `before`, `outputs`, `losses`, `total_loss`, `after`, `training_loss`, `gradients` and
                `unconnected`.
        """
        written = self.add_groups(
            {
                "before": {key: value for key, value in run.before.items() if key not in names},
                "outputs": run.outputs,
                "losses": {str(place): loss.value for place, loss in enumerate(run.losses)},
                "total": {} if run.total_loss is None else {"": run.total_loss},
                "after": run.after,
                "gradients": run.gradients,
                "training_loss": {} if run.training_loss is None else {"": run.training_loss},
            }
        )
        return {
            "setting": setting,
            "fill_names": {key: name for key, name in names.items() if key != name},
            "filled": sorted(names),
            "before": written["before"],
            "outputs": written["outputs"],
            "losses": [[loss.variable, written["losses"][str(place)]] for place, loss in enumerate(run.losses)],
            "total_loss": written["total"].get(""),
            "after": written["after"],
            "gradients": written["gradients"],
            "unconnected": list(run.unconnected),
            "training_loss": written["training_loss"].get(""),
            "taps": {},
            "tap_aliases": {},
            "untapped": [],
            "differing_between_blocks": [],
        }

    def add_file(self, name: str, content: bytes) -> Dict[str, Any]:
        """Writes a file of another kind (an exported graph) and returns what the manifest has to say of it."""
        with _told("writing %s" % name), open(os.path.join(self.folder, name), "xb") as file:
            file.write(content)
        self.bytes_written += len(content)
        return {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def finish(self, body: Mapping[str, Any]) -> None:
        """Writes the manifest and gives the folder its name.

        Args:
            body: What the manifest holds besides format and version; JSON.
        """
        whole = dict(body, format=FORMAT, version=VERSION)
        whole["sha256"] = _digest(whole)
        with _told("writing the manifest"):
            with open(os.path.join(self.folder, MANIFEST), "x", encoding="ascii") as file:
                json.dump(whole, file, indent=1, allow_nan=False)
                file.flush()
                if file.tell() > _LARGEST_MANIFEST:
                    raise RecordingError(
                        "the manifest takes %d bytes, more than the %d that Lockstep reads; record fewer taps, or "
                        "fewer operations." % (file.tell(), _LARGEST_MANIFEST)
                    )
                os.fsync(file.fileno())
            self._refuse_existing(self._target)
            if os.path.exists(self._target) and self._claim is not None:
                os.rename(self._target, self._claim.path(claims.REPLACED))
            os.rename(self.folder, self._target)

    def _write(self, shard: Mapping[str, np.ndarray]) -> None:
        name = self._file_name()
        with _told("writing %s" % name):
            tensors.write(os.path.join(self.folder, name), shard)
        self._files += 1
        self.bytes_written += sum(int(array.nbytes) for array in shard.values())

    def _file_name(self) -> str:
        return "tensors-%04d.safetensors" % self._files

    def _refuse_existing(self, target: str) -> None:
        if not os.path.lexists(self._target):
            return
        if not self._replace:
            raise RecordingError("%s exists already; name another folder, or remove it first." % target)
        if os.path.islink(self._target) or not os.path.isfile(os.path.join(self._target, MANIFEST)):
            raise RecordingError("%s is no trace and is left as it is; name another folder." % target)


class TraceReader:
    """Reads one trace: the manifest at once, each tensor when it is asked for.

    Args:
        folder: The trace.
        numpy_dtype: Turns the name of a dtype into the dtype; bfloat16 is not NumPy's own.

    Attributes:
        body: The manifest.
        held: What has to live as long as this reader.

    Raises:
        RecordingError: The folder holds no trace, a damaged one, or one of a newer version.
    """

    def __init__(self, folder: str, numpy_dtype: Callable[[str], Any] = np.dtype) -> None:
        self.folder = folder
        self._numpy_dtype = numpy_dtype
        self._open: Dict[str, tensors.TensorFile] = {}
        self.held: Any = None
        self.body = _manifest(folder)

    def tensor(self, entry: Mapping[str, Any]) -> np.ndarray:
        """Returns the tensor that an entry of the manifest describes, after checking every byte of it.

        The array is a view of the file: what is not used takes no memory, and what was used is given back with it.

        Raises:
            RecordingError: The entry or the tensor is damaged, or leads out of the folder.
        """
        dtype, shape, expected = _checked_entry(entry)
        file = self._file(entry["file"])
        place = file.places.get(str(entry["key"]))
        if place is None:
            raise RecordingError(
                "the trace %s is damaged: %s has no tensor %s."
                % (self.folder, entry["file"], shortened(repr(entry["key"])))
            )
        tensors.refuse_other(dtype, shape, place)  # before a byte of it is read
        try:
            array = file.tensor(str(entry["key"]))
        except (OSError, TypeError) as error:
            raise RecordingError("%s cannot be read: %s." % (entry["file"], error))
        if checksum(array.reshape(-1).view(np.uint8)) != expected:
            raise RecordingError(
                "the trace %s is damaged: a %s tensor of shape %s in %s is not what was written."
                % (self.folder, dtype, shape, entry["file"])
            )
        return tensors.restored(dtype, shape, array)

    def file(self, entry: Mapping[str, Any]) -> bytes:
        """Returns the content of another file of the trace, after checking it.

        Raises:
            RecordingError: It is missing or damaged.
        """
        path, expected = self._path(entry.get("file")), entry.get("bytes")
        try:
            with open_regular(path, _LARGEST_FILE) as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected:
                    raise RecordingError(
                        "the trace %s is damaged: %s holds %d bytes; the manifest speaks of %s."
                        % (self.folder, entry["file"], size, shortened(repr(expected)))
                    )
                content = file.read(size)
        except OSError as error:
            raise RecordingError("%s cannot be read: %s." % (entry["file"], error.strerror))
        if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
            raise RecordingError("the trace %s is damaged: %s is not what was written." % (self.folder, entry["file"]))
        return content

    def check_files(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Checks that the folder holds what the manifest names, whole, and nothing else.

        Args:
            entries: All that the manifest says of tensors and files.

        Raises:
            RecordingError: A file is missing, surplus, or holds a tensor that nothing in the manifest speaks of.
        """
        keys: Dict[str, Set[str]] = {}
        for entry in entries:
            keys.setdefault(entry["file"], set()).add(str(entry.get("key", "")))
        there = set(os.listdir(self.folder)) - BESIDE - {MANIFEST}
        for names, told in (
            (set(keys) - there, "is not whole: it lacks"),
            (there - set(keys), "holds what is not of it:"),
        ):
            if names:
                listed = ", ".join(shortened(name) for name in sorted(names)[:5])
                more = " and %d more" % (len(names) - 5) if len(names) > 5 else ""
                raise RecordingError("the trace %s %s %s%s." % (self.folder, told, listed, more))
        for name in sorted(name for name in keys if keys[name] != {""}):
            unknown = set(self._file(name).places) - keys[name]
            if unknown:
                raise RecordingError(
                    "the trace %s is damaged: %s holds a tensor %s that its manifest does not speak of."
                    % (self.folder, name, shortened(repr(min(unknown))))
                )
            self._file(name).refuse_other_header()

    def _file(self, name: str) -> "tensors.TensorFile":
        if name not in self._open:
            try:
                self._open[name] = tensors.TensorFile(self._path(name), self._numpy_dtype)
            except OSError as error:
                raise RecordingError("the trace %s is not whole: %s: %s." % (self.folder, name, error.strerror))
        return self._open[name]

    def _path(self, file: Any) -> str:
        if not isinstance(file, str) or not _FILE_NAME.match(file):
            raise RecordingError(
                "the manifest of %s names %s, which is no file of a trace." % (self.folder, shortened(repr(file)))
            )
        return os.path.join(self.folder, file)


def _manifest(folder: str) -> Dict[str, Any]:
    path = os.path.join(folder, MANIFEST)
    if not os.path.isdir(folder):
        raise RecordingError("there is no trace %s." % folder)
    if claims.PARTIAL.match(_base(folder)):
        # Killed after the manifest and before the folder got its name, it may even be whole; it never is taken for it.
        raise RecordingError("%s is what an interrupted recording left; it can be removed." % folder)
    try:
        with open_regular(path, _LARGEST_MANIFEST) as file:
            text = file.read(_LARGEST_MANIFEST + 1)
    except FileNotFoundError:
        raise RecordingError("%s is no trace: it holds no %s." % (folder, MANIFEST))
    except OSError as error:
        raise RecordingError("%s cannot be read: %s." % (path, error.strerror))
    try:
        body = json.loads(
            text.decode("ascii"), parse_constant=_refused_constant, parse_float=_finite, parse_int=_of_64_bits
        )
    except (ValueError, RecursionError):
        raise RecordingError(
            "the trace %s is damaged: its manifest is no JSON, or holds a number beyond 64 bits." % folder
        )
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise RecordingError("%s is no trace of Lockstep: its manifest does not say so." % folder)
    version = body.get("version")
    if type(version) is int and version > VERSION:
        raise RecordingError(
            "the trace %s is of version %d; this Lockstep reads version %d. Update Lockstep, or record it anew."
            % (folder, version, VERSION)
        )
    if body.pop("sha256", None) != _digest(body):
        raise RecordingError("the trace %s is damaged: its manifest is not what was written." % folder)
    if version != VERSION:
        raise RecordingError(
            "the trace %s is of version %s, which Lockstep never wrote." % (folder, shortened(repr(version)))
        )
    return body


def _digest(body: Mapping[str, Any]) -> str:
    try:
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise RecordingError("the manifest is nested too deeply.")
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _refused_constant(name: str) -> None:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not abs(number) < float("inf"):
        raise ValueError(text)
    return number


def _of_64_bits(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError(text)
    return int(text)


def _checked_entry(entry: Mapping[str, Any]) -> Tuple[str, Tuple[int, ...], str]:
    try:
        dtype, shape, expected = entry["dtype"], entry["shape"], entry["checksum"]
        entry["file"], entry["key"]
        sizes: List[Any] = list(shape)
    except (KeyError, TypeError):
        raise RecordingError("the manifest is damaged: it describes a tensor incompletely.")
    if not isinstance(dtype, str) or not tensors.is_shape(sizes):
        raise RecordingError(
            "the manifest is damaged: a tensor has the dtype %s and shape %s."
            % (shortened(repr(dtype)), shortened(repr(shape)))
        )
    return dtype, tuple(sizes), str(expected)


class _told:  # noqa: N801 - reads as what it does: `with _told("writing x"):`
    """Turns a failure of the file system into a sentence."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Any) -> None:
        if isinstance(error, OSError):
            hint = " Free some space, or record fewer taps." if error.errno == errno.ENOSPC else ""
            raise RecordingError("%s failed: %s.%s" % (self._doing, error.strerror or error, hint)) from error


def _base(path: str) -> str:
    return os.path.basename(os.path.abspath(path))
