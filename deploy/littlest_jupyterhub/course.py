"""/opt/tljh/config/jupyterhub_config.d/course.py: what config.yaml has no word for."""

c = get_config()  # noqa: F821 (JupyterHub defines it)

# One core an account, and PyTorch would start a thread for each core of the machine.
c.Spawner.environment = {"OMP_NUM_THREADS": "1"}


def hide_the_instructors_tools(spawner):
    """Students see the list of assignments, and neither formgrader nor the list of courses."""
    if not spawner.user.admin:
        spawner.environment = {
            **spawner.environment,
            "JUPYTER_CONFIG_PATH": "/opt/tljh/user/etc/students",
        }


c.Spawner.pre_spawn_hook = hide_the_instructors_tools
