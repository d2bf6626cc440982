"""Exercises for a class: collected, checked in a sandbox, graded with nbgrader, given back."""
