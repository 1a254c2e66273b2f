"""Small changes of Python code, one at a time, put into the running functions in place of their own code.

What decides is changed: comparisons, conditions, arithmetic, numbers, what is returned, statements left out. Texts, log
lines, defaults of parameters and what runs only once at the import stay as they are.
"""

import ast
import gc
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_LOGS = {"log", "_log"}
_MARK = "_mark_called"

# A function's name and first line.
Place = tuple[str, int]
LiveFunctions = dict[Place, list[FunctionType]]


class Mutant(NamedTuple):
    """One change: what it is called, the function it is in, and the code of the function with it."""

    name: str
    place: Place
    code: CodeType


class _Change(NamedTuple):
    """What a field of a node, or one of its items, becomes."""

    node: Any
    field: str
    position: int | None
    new: Any

    def swap(self) -> "_Change":
        """Make the change; return the one that undoes it."""
        if self.position is None:
            old = getattr(self.node, self.field)
            setattr(self.node, self.field, self.new)
        else:
            old = getattr(self.node, self.field)[self.position]
            getattr(self.node, self.field)[self.position] = self.new
        return self._replace(new=old)


def mutants_of(module: ModuleType) -> list[Mutant]:
    """Return all mutants of a module's functions; their names say what they change, and stay when lines move."""
    tree = ast.parse(inspect.getsource(module))
    names: Counter[str] = Counter()
    mutants = []
    for function, owner in list(_functions(tree)):
        place = _place(function)
        for shown, change in list(_changes(function)):
            before = _first_line(shown)
            undoing = change.swap()
            after = "(left out)" if isinstance(change.new, ast.Pass) else _first_line(shown)
            code = _codes(tree, module)[place]
            undoing.swap()
            name = f"{owner}{place[0]}: {before} -> {after}"
            names[name] += 1
            mutants.append(Mutant(name if names[name] == 1 else f"{name} #{names[name]}", place, code))
    return mutants


def put(mutant: Mutant, live: LiveFunctions) -> None:
    """Give the mutant's function its code."""
    for function in live[mutant.place]:
        function.__code__ = mutant.code


def mark_calls(module: ModuleType, called: Callable[[Place], None]) -> None:
    """Have each function tell when it is called, by where it stands."""
    tree = ast.parse(inspect.getsource(module))
    for function, _ in _functions(tree):
        call = ast.Call(ast.Name(_MARK, ast.Load()), [ast.Constant(value) for value in _place(function)], [])
        if isinstance(function, ast.Lambda):
            function.body = ast.Subscript(ast.Tuple([call, function.body], ast.Load()), ast.Constant(1), ast.Load())
        else:
            # After the docstring, if there is one.
            function.body.insert(ast.get_docstring(function) is not None, ast.Expr(call))
    codes = _codes(tree, module)
    module.__dict__[_MARK] = lambda name, line: called((name, line))
    for place, functions in live_functions(module).items():
        for function in functions:
            if place in codes:
                function.__code__ = codes[place]


def live_functions(module: ModuleType) -> LiveFunctions:
    """Return the functions to give other code to: wherever they are held, decorated ones and lambdas as well."""
    found: LiveFunctions = {}
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename == module.__file__:
            found.setdefault((each.__code__.co_name, each.__code__.co_firstlineno), []).append(each)
    return found


def _functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[Any, str]]:
    """Give the outermost functions with what they belong to: those within them are part of their code."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node, owner
        else:
            yield from _functions(node, f"{node.name}." if isinstance(node, ast.ClassDef) else owner)


def _place(function: Any) -> Place:
    decorators = getattr(function, "decorator_list", [])
    return getattr(function, "name", "<lambda>"), min(each.lineno for each in (function, *decorators))


def _codes(tree: ast.Module, module: ModuleType) -> dict[Place, CodeType]:
    """Compile the tree and return its outermost functions."""
    codes: dict[Place, CodeType] = {}

    def collect(code: CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                if constant.co_flags & inspect.CO_OPTIMIZED:
                    codes[constant.co_name, constant.co_firstlineno] = constant
                else:
                    # The body of a class.
                    collect(constant)

    assert module.__file__ is not None
    collect(compile(ast.fix_missing_locations(tree), module.__file__, "exec", dont_inherit=True))
    return codes


def _first_line(node: ast.AST) -> str:
    return ast.unparse(node).split("\n")[0]


def _changes(function: Any) -> Iterator[tuple[ast.AST, _Change]]:
    """Give the changes of a function, each with the statement that shows it."""
    if isinstance(function, ast.Lambda):
        yield from ((function, change) for change in _changes_in(function.body))
        return
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            for index, statement in enumerate(block if isinstance(block, list) else ()):
                if _is_text_or_log(statement):
                    continue
                if _can_be_left_out(statement):
                    yield statement, _Change(node, field, index, ast.Pass())
                yield from ((statement, change) for change in _changes_in(statement))


def _is_text_or_log(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr):
        return False
    call = statement.value
    if isinstance(call, ast.Constant):
        return True
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in _LOGS


def _can_be_left_out(statement: ast.stmt) -> bool:
    """Whether the function still runs without it, but does something else."""
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in statement.targets)
    return isinstance(statement, ast.Expr | ast.AugAssign | ast.Delete | ast.Raise | ast.Continue | ast.Break)


def _changes_in(statement: ast.AST) -> Iterator[_Change]:
    """Give the changes of a statement's own expressions, those of the statements in it apart."""
    if isinstance(statement, ast.Return) and _is_worth_returning(statement.value):
        yield _Change(statement, "value", None, ast.Constant(None))
    for node in _own_nodes(statement):
        yield from _changes_of_value(node)
        yield from _changes_of_condition(node)


def _is_worth_returning(value: ast.expr | None) -> bool:
    # False, 0 and "" say to most who ask the same as None.
    return value is not None and not (isinstance(value, ast.Constant) and not value.value)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "args"} and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.keyword) and child.arg == "strict":
                # Of `zip`: what has to be as long as each other is.
                continue
            if isinstance(child, ast.AST) and not isinstance(child, ast.stmt | ast.ExceptHandler | ast.JoinedStr):
                yield from _own_nodes(child)


def _changes_of_value(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in _OPERATORS:
            yield _Change(node, "op", None, _OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.USub()):
            yield _Change(node, "op", None, ast.UAdd())
        case ast.Constant(value=bool() as value):
            yield _Change(node, "value", None, not value)
        case ast.Constant(value=int() | float() as value):
            yield _Change(node, "value", None, value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in _NAMES:
            yield _Change(node.func, "id", None, _NAMES[name])


def _changes_of_condition(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=operators):
            for index, operator in enumerate(operators):
                yield from (_Change(node, "ops", index, other()) for other in _COMPARISONS[type(operator)])
        case ast.BoolOp(op=operator):
            yield _Change(node, "op", None, ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _Change(node, "operand", None, _not(operand))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not _has_own_changes(test):
            yield _Change(node, "test", None, _not(test))
        case ast.comprehension(ifs=conditions):
            for index, condition in enumerate(conditions):
                if not _has_own_changes(condition):
                    yield _Change(node, "ifs", index, _not(condition))


def _has_own_changes(condition: ast.expr) -> bool:
    """Whether it is turned around already."""
    return isinstance(condition, ast.Compare | ast.UnaryOp)


def _not(expression: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), expression)
