"""Damaged and crafted files, and configurations, by the thousand: `python -m tools.fuzz`, or `make fuzz`.

Each module here with a function `trials` is a target: what it makes, what Lockstep is asked, and what would be right.
"""
