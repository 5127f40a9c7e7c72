"""The part of Lockstep that runs inside the environment of an old model.

It needs the standard library, NumPy and that environment's TensorFlow, is written in the syntax of Python 3.6,
and imports nothing of Lockstep but this package and `ground`: `bootstrap.py` loads both under a name of their own.
Today's side uses the same modules, so that there is one way to draw, to run a graph and to train.
"""
