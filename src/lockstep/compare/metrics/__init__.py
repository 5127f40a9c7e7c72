"""Two arrays of equal shape -> the figures that say how far they are apart, from one pass over memory.

The pass goes through blocks that stay in the processor's cache. Real floating blocks without NaN and infinity are
*screened* in their own precision: a cheap bound says which few elements can still change a figure, and only those
are evaluated as documented, in float64. Every other block (NaN, infinity, integers, complex numbers, text, two
different dtypes) is evaluated in full. Both ways give the same maxima, indices and counts; tests hold them to it.

A verdict needs less where two arrays agree: `measure_extent` takes the largest error alone.
"""

from lockstep.compare.metrics.comparison import compare_arrays
from lockstep.compare.metrics.extent import Extent, measure_extent
from lockstep.compare.metrics.figures import Figures

__all__ = ["Extent", "Figures", "compare_arrays", "measure_extent"]
