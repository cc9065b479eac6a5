"""Closed-loop choice of genes to perturb: screens, pickers, prior knowledge, and the loop that joins them."""
