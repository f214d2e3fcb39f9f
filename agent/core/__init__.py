"""The pure core: values in, values out.

Law: nothing here does I/O, reads a clock, draws a random number, logs, or knows asyncio. Wall clock,
monotonic time and randomness come in as arguments. Every value is frozen.
"""
