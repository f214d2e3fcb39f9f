"""The agent process: its composition root, the orders that it takes, reload, logs.

Law: the one place where loops and adapters meet. It decides nothing; `core.policy` decides.
"""
