"""Stochastic simulation of gene networks under perturbation: networks, kinetics, kernels, metrics, tools."""
