"""Units that root starts and stops for the agent.

Law: which unit and how is fixed here; a request chooses the verb and at most a checked name.
"""
