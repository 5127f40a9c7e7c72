"""What the recorder raises on purpose."""


class RecordingError(Exception):
    """A recording cannot be made, written or read; its text is one or more full sentences."""
