"""Started by the interpreter of a Keras side's own environment: loads this Lockstep there, and serves.

Lockstep need not be installed in that environment, and what lies beside it here does not come onto the import path.
"""

import importlib.util
import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parents[1]
    del sys.path[0]  # this file's folder, whose modules have names of their own
    specification = importlib.util.spec_from_file_location(
        "lockstep", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert specification is not None and specification.loader is not None  # noqa: PT018 - a file that exists
    module = importlib.util.module_from_spec(specification)
    sys.modules["lockstep"] = module
    specification.loader.exec_module(module)

    from lockstep.serving.keras_side import serve

    serve()
