"""What is trained on, and for how long."""

import digits

EPOCHS = 5


def data():
    """Return 4,096 digits to learn from and 1,024 others to be judged by."""
    return digits.make(4096, seed=1), digits.make(1024, seed=2)
