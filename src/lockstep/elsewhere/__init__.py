"""Subjects that run, or ran, in another process: recorded traces, and sides in environments of their own."""
