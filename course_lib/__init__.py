"""The library behind the course: one idea, one file.

Each file reads top to bottom like its chapter: model, objective, one training step, sampling,
presets. Importing the package loads nothing heavy; import the module you need, for example
``from course_lib import gan``.
"""

__version__ = "0.1.0"
