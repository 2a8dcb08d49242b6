"""Estimates, intervals, tests and fronts."""
