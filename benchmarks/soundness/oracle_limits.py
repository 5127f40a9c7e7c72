"""What counts as an effect; apart from `oracle`, so that tables need no framework."""

HARMLESS = 1e-9
"""The largest relative difference of a harmless mutant: far above float64's rounding, far below float32's."""
BELOW_FLOAT32 = 1e-7
"""An effect that float32 cannot show: half a unit in the last place is 6e-8."""
CLEAR = 1e-4
"""An effect that needs no further sets of values."""
