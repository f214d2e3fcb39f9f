"""The checks of `fairlead doctor`: what each asks, and how its reading is judged.

Law: a check is one row of a registry, and its judgement is a pure function of its reading. How a reading is taken
is decided elsewhere, by the name of the check. Rows are in order of dependence.
"""
