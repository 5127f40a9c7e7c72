"""What pytest does not collect: modules that import PyTorch, where there is no build of it for this Python."""

import importlib.util

TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if TORCH else ["src/lockstep/frameworks/torch/*", "tests/*/torch_*.py"]
