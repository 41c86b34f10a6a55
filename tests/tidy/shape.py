"""How one file looks: its size, its text, where its imports stand, what its handlers catch."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, walk

FILE_LINES_MAX = 350
FILE_LINES_NEVER = 500
FUNCTION_LINES_MAX = 70
REASON = "is long because"
"""What a docstring says, and why, where a file or a function is longer."""

LATE_IMPORTS = {
    "uvloop": ("server", "cli"),
    "rich": ("cli",),
    "asyncio": ("cli",),
    "logging": ("cli",),
    "ssl": ("cli",),
    "presenced": ("backplane", "cli", "ops", "server", "testing", "__init__"),
    "pytest_asyncio": ("testing",),
    "importlib": ("testing",),
    "ctypes": ("server",),
    "jwt": ("server",),
    "cryptography": ("server",),
}
"""What may be imported inside functions, and in which parts. uvloop is optional, and ctypes may not load. A command
starts fast only if it loads what it uses and nothing more: rich for a table, asyncio for a link, ssl for TLS, the
server for `serve`, jwt for a server that verifies tokens, hiredis (an extra) and the cluster for a server that is not
alone. And the package's `__getattr__` spares the server the client."""


def no_swallowing(source: Source) -> Iterator[tuple[int, str]]:
    for node in walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "a bare except takes KeyboardInterrupt and CancelledError too; name the class"
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException") for kind in caught)
        if broad and all(does_nothing(statement) for statement in node.body):
            yield node.lineno, "catches everything and does nothing: a bug of ours would vanish here"


def does_nothing(statement: ast.stmt) -> bool:
    dots = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return dots or isinstance(statement, (ast.Pass, ast.Continue))


def size(source: Source) -> Iterator[tuple[int, str]]:
    lines = source.text.count("\n")
    reason = REASON in source.prose
    if lines > FILE_LINES_NEVER:
        yield FILE_LINES_NEVER, f"{lines} lines; over {FILE_LINES_NEVER} a file has more than one job: split it"
    elif lines > FILE_LINES_MAX and not reason:
        yield FILE_LINES_MAX, f"{lines} lines, over {FILE_LINES_MAX}: split it, or its docstring says: it {REASON} ..."
    elif reason and lines <= FILE_LINES_MAX:
        yield 1, f"says that it {REASON} something, and is not long"
    for node in walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX and REASON not in (ast.get_docstring(node) or ""):
                yield node.lineno, f"{node.name} has {length} lines, over {FUNCTION_LINES_MAX}: does not fit a screen"


def docstring(source: Source) -> Iterator[tuple[int, str]]:
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield 1, "has no docstring: say what the module owns and what it must not know"


def imports_at_the_top(source: Source) -> Iterator[tuple[int, str]]:
    for function in walk(source.tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in walk(function):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "."]
            else:
                continue
            for name in names:
                if source.part not in LATE_IMPORTS.get(name.split(".")[0], ()):
                    yield node.lineno, f"imports {name} inside {function.name}: dependencies stand at the top"
