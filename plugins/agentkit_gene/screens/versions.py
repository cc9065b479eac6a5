"""Versions of what this package makes, where nothing heavy needs to be imported to know them."""

SIMULATION = "screen:sim/1"
"""Raised whenever the same options give another simulated screen."""

TOOLS = "3"
