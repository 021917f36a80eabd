"""The allocator: assigns wallets to orders, first in, first out.

`run_allocator` runs it as a process. `decide` is the heart: a pure function over the plain data of `state`.
"""

from consumers.allocator.handler import run_allocator

__all__ = ["run_allocator"]
