"""Subjects that are PyTorch modules, run by PyTorch's own kernels, and the program that a module is lowered to."""
