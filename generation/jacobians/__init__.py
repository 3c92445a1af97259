"""Exact derivatives of the control step: two engines, and the closed forms that the fast one is made of."""
