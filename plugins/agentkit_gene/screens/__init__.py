"""Closed-loop choice of genetic experiments as users meet it: targets, tools and commands over `agentkit_gene.loop`."""
