"""Plain re-implementations of published KAN layers, for the speed benchmarks.

Each follows its paper's or repository's formula with the same sequence of tensor operations, and
uses none of kanlite's kernels; the tests hold its outputs equal to kanlite's own constructors of
the same network (`kanlite.variants`). They stand in where the original is not installed, and the
benchmarks label them as re-implementations.
"""

from benchmarks.peers.layers import ChebyKAN, EfficientKAN, FasterKAN, FastKAN

__all__ = ["ChebyKAN", "EfficientKAN", "FastKAN", "FasterKAN"]
