"""The agent process: composition root, proxy orders, reload, logs.

Law: the one place where loops and adapters meet. It decides nothing; `core.policy` decides.
"""
