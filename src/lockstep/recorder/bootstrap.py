"""Started by an old interpreter: `python bootstrap.py REQUEST`. Loads the recorder under a name of its own.

Without a request it is asked for one after the other on standard input.
Lockstep's own folder is not put on the import path: only the packages of that environment, and the user's folder.
"""

import os
import sys
import types

NAME = "lockstep_recorder"


def load() -> None:
    """Makes a package in which the recorder and what it stands on are found; Lockstep itself is not imported."""
    package = types.ModuleType(NAME)
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules[NAME] = package


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    load()
    from lockstep_recorder.recorder import worker  # type: ignore[import-not-found]

    sys.exit(worker.main(sys.argv[1]) if len(sys.argv) > 1 else worker.serve())
