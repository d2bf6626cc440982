"""What may run beside a check, and what may not."""

from __future__ import annotations

import nbformat
import pytest
import torch
from conftest import ALL

from classroom.checks import takes_values
from classroom.screen import screen

REFUSED = {
    "a forbidden module": "import os",
    "a module inside another": "import torch\ntorch.os.system('x')",
    "a module imported from another": "from functools import sys",
    "a module's alias": "import torch\nt = torch\nt.allclose = lambda *a: True",
    "a module in a list": "import torch\n[torch][0].allclose = max",
    "a module handed on": "import torch\nprint(torch)",
    "a submodule that is too large": "import torch\ntorch.utils.cpp_extension",
    "a submodule under a new name": "from torch import nn\nnn.modules.module",
    "a relative import": "from . import x",
    "a star": "from math import *",
    "replacing a function": "import torch\ntorch.allclose = lambda *a, **k: True",
    "replacing a method": "import torch\ntorch.Tensor.sum = 1",
    "replacing a method of an alias": "T = type(x)\nT.sum = 1",
    "replacing by a loop": "import torch\nfor torch.allclose in [max]: pass",
    "replacing by with": "import torch\nwith f() as torch.equal: pass",
    "replacing by unpacking": "import torch\na, torch.equal = 1, 2",
    "deleting": "import torch\ndel torch.equal",
    "a builtin by name": "__builtins__",
    "the dictionary of a module": "import math\nmath.__dict__['pi'] = 3",
    "frames": "def f(g):\n return g.gi_frame.f_back.f_globals",
    "an error's frame": "try:\n 1/0\nexcept Exception as e:\n e.__traceback__.tb_frame",
    "globals of a function": "def f(model):\n return model.forward.__globals__",
    "subclasses": "().__class__.__mro__",
    "eval": "eval('1')",
    "exec under another name": "run = exec",
    "getattr": "import torch\ngetattr(torch, 'lo' + 'ad')",
    "getattr with a private name": "getattr(x, '__class__')",
    "getattr with a forbidden name": "import torch\ngetattr(torch, 'load')('x')",
    "setattr": "setattr(x, 'y', 1)",
    "a format string": "'{0.__globals__}'.format(f)",
    "a built format string": "('{0._' + '_globals__}').format(f)",
    "a format map": "'{x}'.format_map(d)",
    "files": "open('/etc/passwd')",
    "files of torch": "import torch\ntorch.load('x')",
    "files of numpy": "import numpy as np\nnp.fromfile('x')",
    "native code of numpy": "import numpy as np\nnp.ctypeslib",
    "lying comparisons": "class A:\n def __eq__(self, other): return True",
    "lying tensors": "class A:\n def __torch_function__(self, *a): return True",
    "pickles": "class A:\n def __reduce__(self): return print, ()",
    "hooks for every network": "from torch.nn import Module\nm.register_module_forward_hook(f)",
    "the notebook": "get_ipython().events",
    "a magic": "%matplotlib inline",
    "a shell command": "!ls",
    "the type of a frame": "import types",
    "a match on a class": "match x:\n case object(y=1): pass",
    "a global builtin": "def f():\n global isinstance\n isinstance = 1",
    "an async frame": "c.cr_frame",
    "a module's name used again": "import torch\nfor torch in []: pass\ntorch.equal = max",
    "a module's name in a function": "import numpy as np\ndef f():\n np = 0\nnp.testing.x",
    "a function with a module's name": "import torch\ndef torch(): pass",
    "files of numpy that write": "import numpy as np\nnp.savetxt('/dev/fd/4', [1])",
    "files of sklearn": "from sklearn.datasets import dump_svmlight_file",
    "type under another name": "import abc",
    "type from typing": "from typing import ABCMeta",
    "type itself": "type('X', (float,), {})",
    "a class of a library": "from torch.distributions import Normal\nNormal.log_prob = 1",
}

ACCEPTED = {
    "a network": """
from torch import nn
class Net(nn.Module):
    '''With __dunder__ in its docstring.'''
    def __init__(self, width: int = 3):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(width))
    def forward(self, x):
        return self.norm(x) + self.bias
""",
    "a module's function": "import torch.nn.functional as F\ndef f(x): return F.softplus(x).mean()",
    "gradients": "def f(p):\n p.grad = None\n p.requires_grad_(False)\n p.data = p.data * 2",
    "modes": "def f(m):\n for part in m.modules():\n  part.training = False",
    "a new attribute": "def f(m):\n m.latent_dim = 3",
    "getattr with a public name": "def f(m): return getattr(m, 'latent_dim', 10)",
    "a random state": "import torch\nwith torch.random.fork_rng(): torch.manual_seed(3)",
    "a format": "'{:.2f}'.format(3)",
    "an f-string": "f'{x:.3f} and {y!r}'",
    "a name of a module as an argument": "def f(math): return math + 1",
    "hooks of one network": "def f(m): return m.register_forward_hook(print)",
    "an own function of autograd": "import torch\nclass F(torch.autograd.Function): pass",
}


def reason(source):
    return screen(source, {"torch": torch})[0]


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED)
def test_what_no_exercise_needs_is_refused(source):
    assert reason(source)


@pytest.mark.parametrize("source", ACCEPTED.values(), ids=ACCEPTED)
def test_what_an_answer_may_well_use_is_accepted(source):
    assert reason(source) == ""


def test_the_reason_names_the_line_and_the_thing():
    assert reason("x = 1\ny = eval('2')") == "line 2: the name eval"


def test_names_of_modules_are_kept_from_cell_to_cell():
    _, modules = screen("import torch as t\nimport numpy as np", {})
    assert screen("t.allclose = max", modules)[0]
    assert screen("np.load('x')", modules)[0]


def test_every_listed_answer_passes_the_screen():
    """Right or plausibly wrong: what people write for these exercises is not refused."""
    tried = 0
    for exercises in ALL:
        _, modules = screen(exercises.source("setup"), {})
        for listed in (exercises.answers.WRONG, exercises.answers.RIGHT):
            for part, answers in listed.items():
                if takes_values(exercises.source(part)):
                    continue
                for fault, code in answers:
                    tried += 1
                    assert screen(code, modules)[0] == "", f"{exercises.chapter} {part}: {fault}"
    assert tried > 300


def test_the_cells_that_are_ours_pass_the_screen():
    for exercises in ALL:
        notebook = nbformat.from_dict(exercises.notebook)
        modules: dict = {}
        for cell in notebook.cells:
            about = cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code" and not about.get("grade"):
                found, modules = screen(cell.source, modules)
                assert found == "", f"{exercises.chapter}: {cell.source[:80]}"
