"""The system calls that answers have no use for, as a filter for the kernel.

Memory in a nameless file or in a System V segment belongs to no process, so a watch on the memory
of processes does not see it; mounts, tracing and the kernel's key rings are the usual way out of a
sandbox. The filter answers all of them with "operation not permitted". (New namespaces by clone are
bubblewrap's own business: --disable-userns.) It is a program of classic BPF, as seccomp(2)
describes it.
"""

from __future__ import annotations

import platform
import struct

# Number of the architecture (linux/audit.h), first number of another ABI, numbers of the calls.
TABLES = {
    "x86_64": (
        0xC000003E,
        0x40000000,  # the x32 calls: the same kernel functions under other numbers
        {
            **{"memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "msgget": 68},
            **{"semget": 64, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311},
            **{"add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "userfaultfd": 323},
            **{"perf_event_open": 298, "io_uring_setup": 425, "mount": 165, "pivot_root": 155},
            **{"unshare": 272, "setns": 308, "open_tree": 428, "move_mount": 429},
            **{"fsopen": 430, "fsmount": 432},
        },
    ),
    "aarch64": (
        0xC00000B7,
        0xFFFFFFFF,
        {
            **{"memfd_create": 279, "memfd_secret": 447, "shmget": 194, "shmat": 196},
            **{"msgget": 186, "semget": 190, "ptrace": 117, "process_vm_readv": 270},
            **{"process_vm_writev": 271, "add_key": 217, "request_key": 218, "keyctl": 219},
            **{"bpf": 280, "userfaultfd": 282, "perf_event_open": 241, "io_uring_setup": 425},
            **{"mount": 40, "pivot_root": 41, "unshare": 97, "setns": 268},
            **{"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432},
        },
    ),
}
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, DENY = 0x7FFF0000, 0x00050000 | 1  # 1 is EPERM


def program(machine: str = "") -> bytes:
    """The filter for an architecture, by default this one; empty where none is known."""
    table = TABLES.get(machine or platform.machine())
    if table is None:
        return b""
    architecture, other, calls = table
    numbers = sorted(calls.values())
    # (operation, jump if true, jump if false, value); a jump counts the instructions it skips.
    lines = [
        (LOAD, 0, 0, 4),  # the architecture
        (EQUAL, 0, len(numbers) + 3, architecture),
        (LOAD, 0, 0, 0),  # the number of the call
        (AT_LEAST, len(numbers) + 1, 0, other),
        *((EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, DENY),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
