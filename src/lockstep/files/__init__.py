"""Originals and weights as files."""
