"""The files for hubs agree with each other and with the course, and do what they say.

What needs a cluster or a machine of its own is not tested; instructor_guide.md says what that is.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from traitlets.config import Config

from classroom.exchange import EXCHANGE
from classroom.settings import load

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text("utf8")


@pytest.fixture(scope="module")
def values():
    return yaml.safe_load((DEPLOY / "zero_to_jupyterhub/values.yaml").read_text("utf8"))


def settings_of(path: Path) -> Config:
    """What a settings file of Jupyter sets."""
    config = Config()
    runpy.run_path(str(path), {"get_config": lambda: config})
    return config


# --- nbgrader ------------------------------------------------------------------------------------


def test_the_exchange_and_the_course_have_one_name_everywhere(root, values):
    config = settings_of(DEPLOY / "nbgrader_config.py")
    assert config.CourseDirectory.course_id == load(root).course_id
    assert Path(config.Exchange.root) == EXCHANGE
    course = str(EXCHANGE / load(root).course_id)
    mounts = [mount["mountPath"] for mount in values["singleuser"]["storage"]["extraVolumeMounts"]]
    assert sorted(mounts) == [f"{course}/{each}" for each in ("feedback", "inbound", "outbound")]
    assert f"install -d -m 777 {EXCHANGE}" in CONTAINERFILE
    script = (DEPLOY / "littlest_jupyterhub/install.sh").read_text("utf8")
    assert f"exchange=${{EXCHANGE:-{EXCHANGE}}}" in script


def test_what_students_do_not_see_has_the_names_that_nbgrader_uses():
    from nbgrader import __file__ as nbgrader

    own = json.loads((DEPLOY / "students/jupyter_server_config.d/nbgrader.json").read_text("utf8"))
    hidden = own["ServerApp"]["jpserver_extensions"]
    assert hidden == dict.fromkeys(hidden, False) and hidden
    for extension in hidden:
        folder = Path(nbgrader).parent / extension.removeprefix("nbgrader.").replace(".", "/")
        assert folder.is_dir()
    page = json.loads((DEPLOY / "students/labconfig/page_config.json").read_text("utf8"))
    assert page["lockedExtensions"] == {}  # or an instructor could not have them either
    scripts = Path(sys.prefix, "share/jupyter/labextensions/@jupyter/nbgrader/static").glob("*.js")
    known = "".join(script.read_text("utf8") for script in scripts)
    for extension in page["disabledExtensions"]:
        assert f'"{extension}"' in known


# --- The Littlest JupyterHub ---------------------------------------------------------------------


def test_only_students_lose_the_instructors_tools():
    hook = settings_of(DEPLOY / "littlest_jupyterhub/course.py").Spawner.pre_spawn_hook
    for is_admin in (False, True):
        spawner = SimpleNamespace(user=SimpleNamespace(admin=is_admin), environment={"A": "1"})
        hook(spawner)
        path = spawner.environment.pop("JUPYTER_CONFIG_PATH", None)
        assert path == (None if is_admin else "/opt/tljh/user/etc/students")
        assert spawner.environment == {"A": "1"}


def test_limits_are_those_of_a_student(values):
    config = yaml.safe_load((DEPLOY / "littlest_jupyterhub/config.yaml").read_text("utf8"))
    assert config["limits"] == {"memory": "2G", "cpu": 1}
    assert set(config) == {"users", "limits", "user_environment", "services"}
    student = values["singleuser"]
    assert (student["memory"]["limit"], student["cpu"]["limit"]) == ("2G", 1)
    assert student["extraEnv"]["OMP_NUM_THREADS"] == "1"


def test_the_script_installs_for_all_and_leaves_the_course_as_it_is(root, tmp_path):
    python = tmp_path / "tljh/user/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.arguments"; ls "${6%[*}" >> "$0.ls"\n')
    python.chmod(0o755)
    environment = os.environ | {
        "TLJH": str(tmp_path / "tljh"),
        "EXCHANGE": str(tmp_path / "exchange"),
        "TMPDIR": str(tmp_path),
    }
    script = str(DEPLOY / "littlest_jupyterhub/install.sh")
    for _ in range(2):  # again after an update
        got = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
        assert got.returncode == 0, got.stderr
        assert "tljh-config reload" in got.stdout
    arguments = Path(f"{python}.arguments").read_text().split()
    assert arguments[:5] == ["-m", "pip", "install", "-c", str(root / "constraints.txt")]
    assert arguments[5].endswith("[grading]") and not arguments[5].startswith(str(root))
    installed = set(Path(f"{python}.ls").read_text().split())
    assert installed == {"README.md", "classroom", "course_lib", "pyproject.toml"}
    files = {str(path.relative_to(tmp_path / "tljh")) for path in tmp_path.rglob("tljh/**/*.*[yn]")}
    assert files >= {
        "user/etc/jupyter/nbgrader_config.py",
        "user/etc/students/jupyter_server_config.d/nbgrader.json",
        "user/etc/students/labconfig/page_config.json",
        "config/jupyterhub_config.d/course.py",
    }
    assert (tmp_path / "exchange").stat().st_mode & 0o777 == 0o777
    assert {path.name for path in tmp_path.iterdir()} == {"tljh", "exchange"}  # no copy stays


def test_the_script_without_the_hub_says_what_is_missing(tmp_path):
    script = str(DEPLOY / "littlest_jupyterhub/install.sh")
    environment = os.environ | {"TLJH": str(tmp_path / "none"), "EXCHANGE": str(tmp_path / "e")}
    got = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
    assert got.returncode == 1
    assert "install The Littlest JupyterHub first" in got.stderr
    assert not (tmp_path / "e").exists()


# --- Zero to JupyterHub --------------------------------------------------------------------------


def test_a_student_can_write_to_one_folder_of_the_exchange(values):
    mounts = values["singleuser"]["storage"]["extraVolumeMounts"]
    writable = [mount["subPath"] for mount in mounts if not mount.get("readOnly")]
    assert writable == ["students/{unescaped_username}/inbound"]
    assert all(mount.get("subPath") for mount in mounts)  # never the volume itself


@pytest.mark.parametrize("is_admin", [False, True])
def test_only_an_instructor_sees_the_whole_exchange(values, is_admin):
    config = Config()
    exec(values["hub"]["extraConfig"]["course"], {"c": config})
    student = values["singleuser"]
    mounts = [
        SimpleNamespace(
            name=mount["name"],
            mount_path=mount["mountPath"],
            sub_path=mount["subPath"],
            read_only=mount.get("readOnly"),
        )
        for mount in student["storage"]["extraVolumeMounts"]
    ]
    home = SimpleNamespace(name="home", mount_path="/home/jovyan", sub_path=None, read_only=None)
    variables = [SimpleNamespace(name=name) for name in student["extraEnv"]]
    server = SimpleNamespace(volume_mounts=[home, *mounts], env=variables)
    pod = SimpleNamespace(spec=SimpleNamespace(containers=[server]))
    spawner = SimpleNamespace(user=SimpleNamespace(admin=is_admin))
    assert config.KubeSpawner.modify_pod_hook(spawner, pod) is pod
    assert home in server.volume_mounts
    exchange = [mount for mount in server.volume_mounts if mount.name == "exchange"]
    if is_admin:
        (whole,) = exchange
        assert whole.mount_path == "/srv/nbgrader/exchange/generative-models"
        assert whole.sub_path is None and whole.read_only is None
        assert [variable.name for variable in server.env] == ["OMP_NUM_THREADS"]
    else:
        assert exchange == mounts and server.env == variables


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("ada", True),
        ("ada.lovelace@example.edu", True),
        ("../bob", False),
        ("..", False),
        ("a/b", False),
        ("-x", False),
        ("a b", False),
        ("", False),
    ],
)
def test_a_name_is_one_folder_and_makes_just_its_own(values, tmp_path, name, is_allowed):
    pattern = values["hub"]["config"]["Authenticator"]["username_pattern"]
    assert bool(re.match(pattern, name)) == is_allowed
    if is_allowed:
        (container,) = values["singleuser"]["initContainers"]
        *command, user = container["command"]
        assert user == "{unescaped_username}"
        volume = tmp_path / "exchange"
        me = f"-o {os.getuid()} -g {os.getgid()}"
        command[2] = command[2].replace("/exchange", str(volume)).replace("-o 1000 -g 100", me)
        for each in (name, "bob"):
            subprocess.run([*command, each], check=True)
        folders = {str(path.relative_to(volume)) for path in volume.glob("students/**/*")}
        assert folders == {
            *(f"students/{each}" for each in (name, "bob")),
            *(f"students/{each}/inbound" for each in (name, "bob")),
            *(f"students/{each}/feedback" for each in (name, "bob")),
        }


def test_every_server_has_the_image_and_the_volume_that_are_made(values):
    student = values["singleuser"]
    image = f"{student['image']['name']}:{student['image']['tag']}"
    assert [each["image"] for each in student["initContainers"]] == [image]
    claim = yaml.safe_load((DEPLOY / "zero_to_jupyterhub/exchange.yaml").read_text("utf8"))
    (volume,) = student["storage"]["extraVolumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert student["networkPolicy"]["egressAllowRules"] == {"nonPrivateIPs": False}


# --- The images ----------------------------------------------------------------------------------


def test_the_images_hold_no_exercise_and_only_what_exists(root):
    copied = [
        source
        for line in re.findall(r"^COPY (.*)$", CONTAINERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert set(copied) == {
        *("constraints.txt", "pyproject.toml", "README.md", "course_lib", "classroom"),
        *("deploy/nbgrader_config.py", "deploy/students"),
    }
    assert all((root / source).exists() for source in copied)
    sent = (DEPLOY / "Containerfile.dockerignore").read_text("utf8").split()
    allowed = {line[1:] for line in sent if line.startswith("!")}
    assert "*" in sent and {source.split("/")[0] for source in copied} == allowed


def test_the_image_of_the_sandbox_is_the_one_that_the_settings_name(root):
    (target,) = re.findall(r"--target (\w+) -t (\S+)", CONTAINERFILE)
    assert target == ("answers", load(root).sandbox.container_image)
    assert f"AS {target[0]}\n" in CONTAINERFILE


def test_no_file_names_the_host_of_a_registry():
    pattern = re.compile(r"\b(docker\.io|quay\.io|ghcr\.io|gcr\.io|pypi\.org|pytorch\.org)\b")
    for path in DEPLOY.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert not pattern.search(path.read_text("utf8")), path
