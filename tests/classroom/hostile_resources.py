"""Submissions that use up time, memory, disk, processes or output."""

from __future__ import annotations

from hostile_kit import (
    RIGHT_VALUE,
    Attack,
    Host,
    at_call,
    at_definition,
    in_answers,
    value_function,
)

TIME = r"second"
PROCESSES = r"more than \d+ processes"
MEMORY = r"memory|MemoryError|allocate"

_STUBBORN = """
    import signal
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""

_FILL = """
    outside()
    block = os.urandom(2**20) * 16
    for folder in (os.getcwd(), "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"), HOST_ROOT):
        try:
            with open(os.path.join(folder, "big"), "wb", buffering=0) as file:
                for _ in range(640):
                    file.write(block)
        except OSError as error:
            print(folder, error)
        else:
            reached(f"10 GB in {folder}")
"""

_HANGS_AT_EXIT = """
    import atexit, threading
    def forever():
        while True:
            time.sleep(1)
    atexit.register(forever)
    threading.Thread(target=forever).start()
    class Last:
        def __del__(self):
            forever()
    last = Last()
    last.itself = last
"""


def _gradient_hangs(host: Host) -> dict[str, str]:
    """The value is right, and its backward pass never ends."""
    function = """
        class Slow(torch.autograd.Function):
            @staticmethod
            def forward(context, value):
                return value.clone()
            @staticmethod
            def backward(context, slope):
                while True:
                    pass
    """
    return {"value_from_logits": value_function(function, f"Slow.apply({RIGHT_VALUE})")}


RESOURCES: dict[str, Attack] = {
    "infinite_loop_at_definition": in_answers(
        at_definition("while True:\n    pass"), keeps=False, reason=TIME
    ),
    "infinite_loop_at_call": in_answers(at_call("while True:\n    pass"), keeps=False, reason=TIME),
    "sleeps_for_a_year": in_answers(at_call("time.sleep(3e7)"), keeps=False, reason=TIME),
    "loop_that_ignores_every_signal": in_answers(at_call(_STUBBORN), keeps=False, reason=TIME),
    "loop_in_c_that_holds_the_interpreter": in_answers(
        at_call("import re\nre.match('(a+)+$', 'a' * 64 + 'b')"), keeps=False, reason=TIME
    ),
    "right_at_first_and_then_hangs": in_answers(
        at_call("""
            global calls
            calls = globals().get("calls", 0) + 1
            while calls > 4:
                pass
        """),
        keeps=False,
        reason=TIME,
    ),
    "gradient_that_hangs": in_answers(_gradient_hangs, keeps=False, reason=TIME),
    "thread_that_keeps_running": in_answers(
        at_definition("""
            import threading
            def spin():
                while True:
                    pass
            threading.Thread(target=spin).start()
        """),
        keeps=True,
        reason="",
    ),
    "hangs_at_exit": in_answers(at_definition(_HANGS_AT_EXIT), keeps=True, reason=""),
    # Which limit a fork bomb meets first depends on how fast the machine is: on a busy one the time
    # is up before the watch, ten times a second, has seen too many processes.
    "fork_bomb": in_answers(
        at_call("""
            outside()
            born = time.monotonic()
            while time.monotonic() < born + 60:
                try:
                    os.fork()
                except OSError:
                    pass
        """),
        keeps=False,
        reason=f"{PROCESSES}|{TIME}",
    ),
    "daemon_that_stays": in_answers(
        at_definition("""
            outside()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    for number in range(3, 64):
                        try:
                            os.close(number)
                        except OSError:
                            pass
                    time.sleep(120)
                os._exit(0)
        """),
        keeps=True,
        reason="",
    ),
    "list_of_100_gigabytes": in_answers(
        at_call("outside()\n[0] * (100 * 10**9 // 8)"), keeps=False, reason=MEMORY
    ),
    "tensor_of_100_gigabytes": in_answers(
        at_call("outside()\ntorch.ones(100 * 10**9 // 4)"), keeps=False, reason=MEMORY
    ),
    "tensor_that_is_filled_bit_by_bit": in_answers(
        at_call("""
            outside()
            parts = []
            for _ in range(1500):
                parts.append(torch.ones(2**22))
        """),
        keeps=False,
        reason=MEMORY,
    ),
    "memory_that_grows_slowly": in_answers(
        at_call("""
            outside()
            parts = []
            while True:
                parts.append(b"x" * 2**23)
                time.sleep(0.001)
        """),
        keeps=False,
        reason=f"{MEMORY}|{TIME}",
    ),
    "memory_of_many_processes": in_answers(
        at_call("""
            outside()
            for _ in range(12):
                if os.fork() == 0:
                    held = b"x" * (500 * 2**20)
                    time.sleep(60)
                    os._exit(0)
            time.sleep(60)
        """),
        keeps=False,
        reason=f"{MEMORY}|{TIME}",
    ),
    "memory_that_belongs_to_no_process": in_answers(
        at_call("""
            outside()
            for number in range(100):
                file = os.memfd_create(str(number))
                for _ in range(100):
                    os.write(file, b"x" * 2**20)
        """),
        keeps=False,
        reason=f"{MEMORY}|{TIME}|rror",
    ),
    "file_of_10_gigabytes": in_answers(at_definition(_FILL), keeps=True, reason=""),
    "sparse_file_of_10_terabytes": in_answers(
        at_definition("""
            outside()
            for folder in (os.getcwd(), "/tmp", os.path.expanduser("~")):
                try:
                    with open(os.path.join(folder, "sparse"), "wb") as file:
                        file.truncate(10**13)
                except OSError as error:
                    print(error)
        """),
        keeps=True,
        reason="",
    ),
    "a_million_files": in_answers(
        at_definition("""
            outside()
            try:
                for number in range(10**6):
                    open(f"/tmp/{number}", "x").close()
            except OSError as error:
                print(error)
        """),
        keeps=False,
        reason=f"{TIME}|space|files",
    ),
    "gigabyte_printed": in_answers(
        at_definition("for _ in range(1024):\n    print('x' * 2**20)"), keeps=True, reason=""
    ),
    "gigabyte_written_to_descriptor_1": in_answers(
        at_definition("""
            for _ in range(1024):
                os.write(1, b"x" * 2**20)
                os.write(2, b"x" * 2**20)
        """),
        keeps=True,
        reason="",
    ),
    "hundred_thousand_lines_printed": in_answers(
        at_definition("for number in range(10**5):\n    print(number)"), keeps=True, reason=""
    ),
    "threads_without_end": in_answers(
        at_call("""
            import threading
            outside()
            for _ in range(100_000):
                threading.Thread(target=time.sleep, args=(60,)).start()
        """),
        keeps=False,
        reason="thread|process|second",
    ),
    "recursion_without_end": in_answers(
        at_call("""
            sys.setrecursionlimit(10**9)
            def deeper(x):
                return [deeper(x + 1)]
            deeper(0)
        """),
        keeps=False,
        reason=".",
    ),
    "compiler_killed_by_nested_brackets": in_answers(
        lambda host: {"value_from_logits": "(" * 100_000 + ")" * 100_000},
        keeps=False,
        reason="SyntaxError|nested|parentheses",
    ),
    "cell_of_a_megabyte": in_answers(
        lambda host: {"value_from_logits": "x = 0\n" * 170_000},
        keeps=False,
        reason="200 kB",
    ),
    "power_tower": in_answers(at_definition("x = 10 ** 10 ** 9"), keeps=False, reason=TIME),
}
