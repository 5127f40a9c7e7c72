"""What an old environment and today's side share: files of a trace, records, values to fill in, patterns, locks.

The syntax is that of Python 3.6, and nothing is imported but the standard library, NumPy and this package: the
recorder brings it along into an old environment, under the name that `recorder/bootstrap.py` gives it.
"""
