"""Started by an old interpreter: `python bootstrap.py REQUEST`. Loads the recorder under a name of its own.

Without a request it is asked for one after the other on standard input.
Lockstep's own folder is not put on the import path: only the packages of that environment, and the user's folder.
"""

import importlib.util
import os
import sys

NAME = "lockstep_recorder"


def load() -> None:
    """Imports the recorder's package from this file's folder."""
    folder = os.path.dirname(os.path.abspath(__file__))
    place = os.path.join(folder, "__init__.py")
    specification = importlib.util.spec_from_file_location(NAME, place, submodule_search_locations=[folder])
    assert specification is not None and specification.loader is not None  # noqa: PT018 - a file that exists
    module = importlib.util.module_from_spec(specification)
    sys.modules[NAME] = module
    specification.loader.exec_module(module)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    load()
    from lockstep_recorder import worker  # type: ignore[import-not-found]

    sys.exit(worker.main(sys.argv[1]) if len(sys.argv) > 1 else worker.serve())
