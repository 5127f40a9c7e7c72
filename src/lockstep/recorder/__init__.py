"""The part of Lockstep that runs inside the environment of an old model.

It needs the standard library, NumPy and that environment's TensorFlow, is written in the syntax of Python 3.6,
and imports nothing of Lockstep outside this package: `bootstrap.py` loads it under a name of its own. Today's side
uses the same modules, so that there is one way to fill variables, to draw, to run a graph and to write a trace.
"""
