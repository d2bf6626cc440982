"""Exercises for a class: collected, checked in a sandbox, graded with nbgrader, given back.

From the files of a learning platform to clean notebooks: ``inbox``, ``students``, ``cleaning``,
``collect``, ``exchange``. From a notebook to outcomes, on either side of a wall: ``checking``
starts a ``checker``, which runs the tests (``checks``) and asks the ``sandbox`` (``seccomp``) for
values; in there ``answering`` runs what the student wrote. ``wall`` and ``values`` are the way
between the two, ``screen`` guards the checks that have to run beside the answer. From outcomes to
points: ``grade``, ``nbgrader_plugins``, ``late``, ``gradebook``, ``settings``. To be read:
``feedback``, ``summary``. For a reader alone: ``self_study``, ``progress``.
"""
