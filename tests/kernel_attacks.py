"""What a hostile source may try, and what each try would be good for: none of it is a source.

In:   rows of (what it would be good for, text, what the refusal says).
Out:  `ATTACKS`, whole texts. `STATEMENTS` stand in the body of a kernel, `EXPRESSIONS` on the right
      of an assignment there, `TEXTS` alone.
Not covered: what only a running kernel can do (indices outside of arrays, endless loops): the
sandbox's matter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_HEAD: Final = "@kernel\ndef k(i, a: f32, x: In[f32], out: Out[f32], n: i64, mark: Out[i32, 2]):\n"
_KERNEL: Final = "\n\n@kernel\ndef k(i, out: Out[f32]):\n    out[i] = 1.0\n"


_HOLDS: Final = """@device
def {}(x):
    b = cuda.local.array(600, f64)
    b[0] = {}
    return b[0]
"""


class Attack(NamedTuple):
    """One hostile text."""

    why: str
    text: str
    #: A part of the sentence that refuses it.
    says: str


EXPRESSIONS: Final = (
    # attribute walks: from any object to its class, from there to every other one
    ("classes of the process", "().__class__.__base__.__subclasses__()", "cannot be called"),
    ("a class by a number", "(1).__class__", "not in this language"),
    ("a class by a number's own", "n.__class__.__mro__", "not in this language"),
    ("globals of a function", "k.__globals__", "not in this language"),
    ("code of a function", "k.__code__", "not in this language"),
    ("an array's memory", "x.ctypes.data", "not in this language"),
    ("an array's type's class", "x.dtype.type.mro()", "cannot be called"),
    ("an array's base", "x.base", "not in this language"),
    ("an array as bytes", "x.tobytes()", "cannot be called"),
    ("a file from an array", "x.tofile(n)", "cannot be called"),
    ("an array's flags", "x.flags", "not in this language"),
    ("a view of another type", "x.view(i64)", "cannot be called"),
    ("strides of an array", "x.strides[0]", "written as its name"),
    ("a pointer of an array", "x.__array_interface__", "not in this language"),
    ("the imaginary part", "n.imag", "not in this language"),
    ("an int's methods", "n.bit_length()", "cannot be called"),
    ("an int's bytes", "n.to_bytes(8)", "cannot be called"),
    ("a module's loader", "math.__loader__", "not in this language"),
    ("a module's name", "math.__name__", "not in this language"),
    ("a module as a number", "math", "no number"),
    ("cuda as a number", "cuda", "no number"),
    ("cuda's own modules", "cuda.cudadrv.driver", "not in this language"),
    ("what runs cuda's tests", "cuda.runtests()", "cannot be called"),
    ("another device", "cuda.select_device(0)", "cannot be called"),
    ("the compiler from inside", "cuda.jit(k)", "cannot be called"),
    ("foreign code", "cuda.declare_device(1, 2)", "cannot be called"),
    ("library code by name", "cuda.libdevice.sinf(a)", "cannot be called"),
    ("peer memory", "cuda.mapped_array(1)", "cannot be called"),
    ("pinned memory of the host", "cuda.pinned_array(1)", "cannot be called"),
    ("a device function's type", "cuda.threadIdx.__class__", "not in this language"),
    ("a fourth axis", "cuda.threadIdx.w", "not in this language"),
    ("a place as a whole", "cuda.threadIdx", "not in this language"),
    ("numpy's door to C", "np.ctypeslib.ctypes.CDLL(0)", "cannot be called"),
    ("numpy's loader", "np.load(x)", "cannot be called"),
    ("numba's pointers", "numba.carray(n, 1)", "cannot be called"),
    # calls of Python
    ("an attribute by a text", "getattr(x, n)", "cannot be called"),
    ("any attribute", "setattr(x, n, 1)", "cannot be called"),
    ("code from a text", "eval(n)", "cannot be called"),
    ("statements from a text", "exec(n)", "cannot be called"),
    ("code from a text, compiled", "compile(n, n, n)", "cannot be called"),
    ("a module by a text", "__import__(n)", "cannot be called"),
    ("a file", "open(n)", "cannot be called"),
    ("the submitter's keyboard", "input()", "cannot be called"),
    ("the debugger", "breakpoint()", "cannot be called"),
    ("names of the process", "globals()", "cannot be called"),
    ("names of the function", "locals()", "cannot be called"),
    ("names of an object", "vars(x)", "cannot be called"),
    ("names of an object, listed", "dir(x)", "cannot be called"),
    ("a class made here", "type(n)", "cannot be called"),
    ("an object", "object()", "cannot be called"),
    ("memory as bytes", "memoryview(x)", "cannot be called"),
    ("bytes of any length", "bytes(n)", "cannot be called"),
    ("the output of the process", "print(n)", "nothing: a kernel has no output"),
    ("an address", "id(x)", "cannot be called"),
    ("a hash that differs between runs", "hash(n)", "cannot be called"),
    ("help, which runs a pager", "help(n)", "cannot be called"),
    ("a text of any length", "str(n)", "cannot be called"),
    ("a list of any length", "list(x)", "cannot be called"),
    ("a power bomb by a call", "pow(9, n)", "`x ** y`"),
    ("a lazy list", "map(k, x)", "cannot be called"),
    ("an iterator", "iter(x)", "cannot be called"),
    ("a slice made by a call", "slice(0, 1)", "cannot be called"),
    ("complex numbers", "complex(1, 2)", "cannot be called"),
    ("the parent's class", "super()", "cannot be called"),
    # numba's own functions
    ("a write to any address", "unsafe_cast(n, i64)", "cannot be called"),
    ("Python inside", "objmode(1)", "cannot be called"),
    ("another thread", "numba.prange(4)", "cannot be called"),
    ("a literal, unrolled", "literal_unroll(x)", "cannot be called"),
    ("a call of what was returned", "f32(1)(2)", "cannot be called"),
    ("a call of an element", "x[0](1)", "cannot be called"),
    ("a call of a number", "(1)(2)", "cannot be called"),
    ("a call of a number's name", "n(1)", "is no function"),
    ("a barrier by its bare name", "syncthreads()", "write `cuda.syncthreads`"),
    ("the kernel from inside", "k(i, a, x, out, n, mark)", "calls itself"),
    # forms
    ("a list in a list", "[[0] * 9] * 9", "a list is not there"),
    ("a list", "[0, 1]", "not there"),
    ("a list of any length", "[j for j in range(9)]", "not there"),
    ("a generator", "max((j for j in range(9)), 1)", "not there"),
    ("names made in an expression", "(b := 1)", "not in this language"),
    ("arguments from a list", "f32(*x)", "takes nothing apart"),
    ("arguments from a dict", "f32(**x)", "without names"),
    ("a keyword that means something", "f32(value=1)", "without names"),
    ("a keyword of numba", "math.sqrt(x=1.0)", "without names"),
    ("a function without name", "(lambda: 1)()", "not in this language"),
    ("a slice", "x[0:1]", "a slice is not there"),
    ("everything", "x[...]", "numbers only"),
    ("a new axis", "x[None]", "not in this language"),
    ("an index by a truth value", "x[True]", "whole number"),
    ("an index by a fraction", "x[1.0]", "whole number"),
    ("a row as a value", "mark[0]", "has 2 dimensions"),
    ("too many indices", "x[0, 0]", "has 1 dimensions"),
    ("an index into a number", "a[0]", "no array"),
    ("an extent by a variable", "x.shape[n]", "takes a constant"),
    ("an extent that is not there", "x.shape[7]", "takes a constant"),
    ("all extents as one", "x.shape", "several numbers"),
    ("an array as a number", "x", "is an array"),
    ("an array in a sum", "x + 1.0", "is an array"),
    ("an array compared", "x == out", "is an array"),
    ("an array by a choice", "x if n else out", "is an array"),
    ("whether it is the same", "a is n", "not in this language"),
    ("whether it is in it", "a in x", "compared with"),
    ("a matrix product", "x @ x", "multiplies no matrices"),
    ("nothing", "None", "not in this language"),
    ("a waiting function", "await k", "not in this language"),
    ("a yielding function", "(yield 1)", "not in this language"),
    # texts
    ("a text", '"abc"', "numbers only"),
    ("bytes", 'b"abc"', "docstring only"),
    ("a format that reads attributes", '"{0.__class__}".format(x)', "cannot be called"),
    ("a format in a text", 'f"{x.__class__}"', "docstring only"),
    ("a raw text", 'r"\\d"', "docstring only"),
    ("a text in a call", 'getattr(x, "__class__")', "cannot be called"),
    ("a key", 'x["data"]', "numbers only"),
    ("a text that is long when it runs", '"a" * 1000000000', "numbers only"),
    ("a percent format", '"%999999999d" % 1', "numbers only"),
    # numbers that are too large
    ("a power bomb", "9 ** 9 ** 9", "64 bits"),
    ("a power bomb of floats", "9.0 ** 9.0 ** 9.0", "64 bits"),
    ("a shift bomb", "1 << 1000000000", "64 bits"),
    ("a shift by less than nothing", "1 << -1", "64 bits"),
    ("a product bomb", "2 ** 63 * 2 ** 63", "64 bits"),
    ("a literal beyond 64 bits", "0x1_0000_0000_0000_0000", "64 bits"),
    ("a negative one beyond 64 bits", "-9223372036854775809", "64 bits"),
    ("an endless float", "1e999", "finite"),
    ("an imaginary number", "1j", "no name and no number"),
    ("a root of a negative constant", "(-1.0) ** 0.5", "negative"),
    ("a division by zero while folding", "1 // 0", "by zero"),
    ("a rest by zero while folding", "1 % 0", "by zero"),
    ("bits of a fraction", "1.5 | 1", "whole numbers"),
    ("a number of many digits", "9" * 73, "a number has at most"),
    ("a number of thousands of digits", "9" * 490, "a number has at most"),
    # names
    ("a name that nobody made", "secret", "not known"),
    ("a name of the compiler's", "_numba", "not known"),
    ("a name of Python's inside", "__builtins__", "not known"),
    ("what is not used", "_", "not used"),
    ("a type as a number", "f32", "no number"),
    ("a function as a number", "abs", "no number"),
    ("the kernel as a number", "k", "no number"),
    # the wrong form
    ("a barrier as a number", "cuda.syncthreads()", "CUDA form"),
    ("a block's place", "cuda.blockIdx.x", "CUDA form"),
    ("a grid's place", "cuda.grid(1)", "CUDA form"),
    ("memory in an expression", "cuda.local.array(4, f32)[0]", "written as its name"),
    ("memory as an argument", "f32(cuda.local.array(4, f32))", "stands alone"),
    ("too few arguments", "math.atan2(1.0)", "takes 2 arguments"),
    ("too many arguments", "math.sqrt(1.0, 2.0)", "takes 1 arguments"),
    ("range as a number", "range(3)", "stands in `for"),
    ("an atomic write of an input", "cuda.atomic.add(x, 0, 1)", "read only"),
    ("an atomic write of an element", "cuda.atomic.add(out[0], 0, 1)", "written as its name"),
    ("an atomic at an unknown place", "cuda.atomic.add(mark, 0, 1)", "has 2 dimensions"),
    ("an exchange of floats", "cuda.atomic.exch(out, 0, 1.0)", "takes arrays of"),
    ("warp functions that CPUs lack", "cuda.shfl_sync(1, n, 0)", "cannot be called"),
)

_OWN: Final = "b = cuda.local.array(4, f32)\n    "

STATEMENTS: Final = (
    ("a module", "import os", "not in this language"),
    ("a name of a module", "from os import system", "not in this language"),
    ("a module's attribute", "math.sqrt = n", "only names and elements"),
    ("a corner of the launch", "cuda.threadIdx.x = 0", "only names and elements"),
    ("a function inside", "def g(): return 1", "top of the text"),
    ("a class", "class A: pass", "not in this language"),
    ("Python inside", "with objmode(): pass", "not in this language"),
    ("an exception", "raise 1", "not in this language"),
    ("an exception's frame", "try: pass", "not in this language"),
    ("an assertion with a text", "assert n", "not in this language"),
    ("a deleted name", "del n", "not in this language"),
    ("a deleted element", "del out[0]", "not in this language"),
    ("names of the module", "global n", "not in this language"),
    ("names of the function around", "nonlocal n", "not in this language"),
    ("a waiting function", "async def g(): pass", "not in this language"),
    ("matching, which calls", "match n:\n        case f32(x=1):\n            pass", "write `if`"),
    ("an annotation that runs", "b: eval(n) = 1", "no annotation"),
    ("an annotation alone", "b: f32", "no annotation"),
    ("two statements", "b = 1; c = 2", "one statement a line"),
    ("a list taken apart", "b, *c = x.shape", "numbers are assigned|only names|names for"),
    ("an assigned list", "[b, c] = 1, 2", "numbers are unpacked"),
    ("a matrix product", "out @= x", "multiplies no matrices"),
    ("a row assigned", "mark[0] = 1", "has 2 dimensions"),
    ("a slice assigned", "out[:] = 1.0", "a slice is not there"),
    ("an input written", "x[i] = 1.0", "read only"),
    ("an input added to", "x[i] += 1.0", "read only"),
    ("a parameter assigned", "n = 1", "keeps its value"),
    ("an index assigned", "i += 1", "keeps its value"),
    ("an array assigned", "out = x", "is an array"),
    ("an alias of an array", "b = out", "is an array"),
    ("a name of ours", "f32 = 1", "a name of this language"),
    ("a module's name", "math = 1", "a name of this language"),
    ("a name of ours that loops", "for cuda in range(3):\n        pass", "a name of this language"),
    ("a function's name", "min = 1", "a name of this language"),
    ("a name of Python's", "eval = 1", "a name of Python"),
    ("the kernel's name", "k = 1", "is a function"),
    ("a translator's name", "_tid = 1", "underscore"),
    ("a translator's name, inside", "tid__x = 1", "underscore"),
    ("an expression alone", "n + 1", "alone does nothing"),
    ("a number alone", "i\n    5", "alone does nothing"),
    ("a function's result dropped", "math.sqrt(a)", "is not used"),
    ("a memory of any size", "b = cuda.local.array(n, f32)", "constant whole numbers"),
    ("a memory of much size", "b = cuda.local.array(1000000000, f32)", "no extent"),
    ("a memory of many dimensions", "b = cuda.local.array((9, 9, 9, 9), f32)", "1 to 3"),
    ("memory of no size", "b = cuda.local.array(0, f32)", "no extent"),
    ("memory of a negative size", "b = cuda.local.array(-4, f32)", "no extent"),
    ("memory of a fraction", "b = cuda.local.array(1.5, f32)", "constant whole numbers"),
    ("memory by a truth value", "b = cuda.local.array(True, f32)", "constant whole numbers"),
    ("a product of extents", "b = cuda.local.array((999, 999), f64)", "at most 8192 bytes"),
    ("memory of objects", "b = cuda.local.array(4, object)", "the type of an array"),
    ("memory in a loop", "while n:\n        b = cuda.local.array(4, f32)", "at the top"),
    ("memory twice", "b = cuda.local.array(4, f32)\n    b = cuda.local.array(9, f32)", "twice"),
    ("memory before it is made", "b[0] = 1\n    b = cuda.local.array(4, f32)", "made below"),
    ("memory with a keyword", "b = cuda.local.array(shape=4, dtype=f32)", "a shape and a type"),
    ("shared memory without blocks", "b = cuda.shared.array(4, f32)", "CUDA form"),
    ("a barrier without blocks", "cuda.syncthreads()", "CUDA form"),
    ("what a register held", "if n:\n        b = 1.0\n    out[i] = b", "may have no value"),
    (
        "what a register held, by a loop",
        "for j in range(n):\n        b = j\n    out[i] = b",
        "may have",
    ),
    ("a loop's own name after it", "for j in range(n):\n        pass\n    out[i] = j", "may have"),
    ("a name added to before", "b += 1", "may have no value"),
    ("a name that is its own value", "b = b + 1", "may have no value"),
    ("a loop without end", "while True:\n        pass", "never ends"),
    ("a loop without end, by a number", "while 1:\n        n", "alone does nothing"),
    ("a loop that never begins", "while 0:\n        pass", "never begins"),
    ("after the end", "return\n    out[i] = 1.0", "never reached"),
    ("after a jump", "while n:\n        break\n        out[i] = 1.0", "never reached"),
    ("a loop of 2^60 steps", "for j in range(1 << 60):\n        out[i] = j", "nobody ends them"),
    (
        "loops of 2^60 steps together",
        "for j in range(1 << 30):\n        for l in range(1 << 30):\n            out[i] = l",
        "nobody ends them",
    ),
    ("steps of nothing", "for j in range(0, 9, 0):\n        pass", "never ends"),
    ("steps of a fraction", "for j in range(0.5):\n        pass", "whole numbers"),
    ("too many bounds", "for j in range(0, 1, 2, 3):\n        pass", "an end, or"),
    ("an array walked through", "for j in x:\n        pass", "for name in range"),
    ("a range of a range", "for j in range(range(3)):\n        pass", "stands in `for"),
    ("a range with names", "for j in range(stop=3):\n        pass", "for name in range"),
    ("a counter that is an element", "for out[0] in range(3):\n        pass", "one name"),
    ("two counters", "for j, l in range(3):\n        pass", "one name"),
    ("a loop's else", "for j in range(3):\n        pass\n    else:\n        pass", "no `else`"),
    ("a jump out of nothing", "break", "stands in a loop"),
    ("a jump on from nothing", "continue", "stands in a loop"),
    ("a returned number", "return 1", "returns nothing"),
    ("a returned nothing", "return None", "not in this language"),
    ("a name for two numbers", "b, c = n", "one number"),
    ("two names for three numbers", "b, c = 1, 2, 3", "2 names for 3"),
    ("random words in one name", "b = philox(1, i, 0)", "unpack them"),
    ("extents of another number", "b, c, d = mark.shape", "3 names for 2"),
    ("brackets that do not close", "b = (1", "not Python"),
    ("atomics on what is one thread's", f"{_OWN}cuda.atomic.add(b, 0, 1.0)", "one thread's own"),
    ("a number first", "5", "a number alone"),
    ("numbers unpacked twice", "b, c = d, e = 1, 2", "unpacked once"),
    ("an array that becomes a number", f"{_OWN}b = 1.0", "`b` is an array: write"),
    ("a decorator inside", "@kernel\n    def g():\n        pass", "top of the text"),
)

_DEEP: Final = "".join(
    f"@device\ndef f{n}(x):\n    return f{n - 1}(x) + f{n - 1}(x)\n\n\n" for n in range(1, 25)
)

TEXTS: Final = (
    ("nothing", "\n", "one `@kernel`"),
    ("no end of the line", "A = 1", "last line must end"),
    ("only constants", "A = 1\n", "one `@kernel`"),
    ("code at the top", "eval(1)\n" + _KERNEL, "a source holds"),
    ("a text at the top", '"""a"""\n' + _KERNEL, "a source holds"),
    ("a module", "import os\n" + _KERNEL, "not in this language"),
    ("a list as a constant", "A = [1]\n" + _KERNEL, "a constant is a number"),
    ("a text as a constant", 'A = "a"\n' + _KERNEL, "a constant is a number"),
    ("a call as a constant", "A = eval(1)\n" + _KERNEL, "a constant is a number"),
    ("an attribute as a constant", "A = ().__class__\n" + _KERNEL, "a constant is a number"),
    ("a tuple as a constant", "A = 1, 2\n" + _KERNEL, "a constant is a number"),
    ("two constants at once", "A, B = 1, 2\n" + _KERNEL, "a source holds"),
    ("a constant twice", "A = 1\nA = 2\n" + _KERNEL, "twice"),
    ("a constant added to", "A = 1\nA += 2\n" + _KERNEL, "a source holds"),
    ("a constant with a type", "A: f32 = 1\n" + _KERNEL, "a source holds"),
    ("a constant named as a type", "f32 = 1\n" + _KERNEL, "a name of this language"),
    ("a constant named as Python's", "eval = 1\n" + _KERNEL, "a name of Python"),
    ("a constant of the translator's", "_A = 1\n" + _KERNEL, "underscore"),
    ("a constant named as the kernel", "k = 1\n" + _KERNEL, "twice"),
    ("a constant that no type holds", "A = u8(300)\n" + _KERNEL, "is no u8"),
    ("a constant that is too large", "A = f32(1e300)\n" + _KERNEL, "too large"),
    ("a power bomb at the top", "A = 9 ** 9 ** 9 ** 9\n" + _KERNEL, "64 bits"),
    (
        "a constant assigned",
        "A = 1\n\n\n@kernel\ndef k(i, out: Out[f32]):\n    A = 2\n    out[i] = A\n",
        "is a constant",
    ),
    ("a constant below", _KERNEL + "\n\nA = 1\n", "above the functions"),
    ("no decorator", "def k(i, out: Out[f32]):\n    out[i] = 1\n", "one decorator"),
    ("a foreign decorator", "@eval\ndef k(i, out: Out[f32]):\n    out[i] = 1\n", "a decorator is"),
    (
        "a decorator that runs",
        "@eval(1)\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "a decorator is",
    ),
    (
        "a library linked",
        "@kernel(link=1)\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "a decorator is",
    ),
    (
        "a flag that is computed",
        "@kernel(fastmath=eval)\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "a decorator is",
    ),
    (
        "a flag that is no flag",
        "@kernel(fastmath=1)\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "a decorator is",
    ),
    (
        "numba's decorator",
        "@cuda.jit\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "a decorator is",
    ),
    (
        "two decorators",
        "@device\n@kernel\ndef k(i, out: Out[f32]):\n    out[i] = 1\n",
        "one decorator",
    ),
    ("two kernels", _KERNEL + _KERNEL.replace("def k", "def l"), "the only one"),
    ("a device function below", _KERNEL + "\n\n@device\ndef f(x):\n    return x\n", "last one"),
    (
        "a default that runs",
        "@kernel\ndef k(i, out: Out[f32], a: f32 = eval(1)):\n    out[i] = 1\n",
        "no default",
    ),
    (
        "a default of a name",
        "@kernel\ndef k(i, out: Out[f32], *, a: f32 = 1):\n    out[i] = 1\n",
        "between parameters",
    ),
    ("any arguments", "@kernel\ndef k(i, out: Out[f32], *a):\n    out[i] = 1\n", "not in this"),
    ("any names", "@kernel\ndef k(i, out: Out[f32], **a):\n    out[i] = 1\n", "not in this"),
    ("by place only", "@kernel\ndef k(i, /, out: Out[f32]):\n    out[i] = 1\n", "between"),
    (
        "a name twice",
        "@kernel\ndef k(i, i, out: Out[f32]):\n    out[i] = 1\n",
        "already|not Python",
    ),
    ("a type that runs", "@kernel\ndef k(i, out: eval(1)):\n    out[i] = 1\n", "a type is one of"),
    (
        "a text as a type",
        '@kernel\ndef k(i, out: "Out[f32]"):\n    out[i] = 1\n',
        "a type is one of",
    ),
    ("a type of Python's", "@kernel\ndef k(i, out: object):\n    out[i] = 1\n", "a type is one of"),
    (
        "objects in an array",
        "@kernel\ndef k(i, out: Out[object]):\n    out[i] = 1\n",
        "the type of",
    ),
    ("dimensions without end", "@kernel\ndef k(i, out: Out[f32, 9]):\n    pass\n", "1 to 3"),
    ("no dimension", "@kernel\ndef k(i, out: Out[f32, 0]):\n    pass\n", "1 to 3"),
    (
        "a truth value of dimensions",
        "@kernel\ndef k(i, out: Out[f32, True]):\n    pass\n",
        "a type is",
    ),
    ("dimensions that run", "@kernel\ndef k(i, out: Out[f32, eval(1)]):\n    pass\n", "a type is"),
    (
        "a result that runs",
        "@kernel\ndef k(i, out: Out[f32]) -> eval(1):\n    pass\n",
        "returns nothing",
    ),
    (
        "a parameter of ours",
        "@kernel\ndef k(i, f32: Out[f32]):\n    pass\n",
        "a name of this language",
    ),
    (
        "a parameter of Python's",
        "@kernel\ndef k(i, eval: Out[f32]):\n    pass\n",
        "a name of Python",
    ),
    (
        "a parameter of a translator's",
        "@kernel\ndef k(_i, out: Out[f32]):\n    pass\n",
        "underscore",
    ),
    (
        "a parameter named as a constant",
        "A = 1\n\n\n@kernel\ndef k(i, A: Out[f32]):\n    pass\n",
        "already",
    ),
    ("four indices", "@kernel\ndef k(a, b, c, d, out: Out[f32]):\n    pass\n", "at most 3 indices"),
    ("an index behind", "@kernel\ndef k(out: Out[f32], i):\n    pass\n", "indices stand in front"),
    ("nothing written", "@kernel\ndef k(i, x: In[f32]):\n    pass\n", "at least one `Out`"),
    ("nothing at all", "@kernel\ndef k():\n    pass\n", "at least one `Out`"),
    (
        "many parameters",
        f"@kernel\ndef k(i, {', '.join(f'a{n}: f32' for n in range(40))}):\n    pass\n",
        "at most 32 parameters",
    ),
    (
        "a kernel named as a type",
        "@kernel\ndef f32(i, out: Out[f32]):\n    pass\n",
        "a name of this",
    ),
    (
        "a kernel of Python's name",
        "@kernel\ndef eval(i, out: Out[f32]):\n    pass\n",
        "a name of Python",
    ),
    ("a kernel of magic", "@kernel\ndef __call__(i, out: Out[f32]):\n    pass\n", "underscore"),
    ("a body of words only", '@kernel\ndef k(i, out: Out[f32]):\n    """a"""\n', "body is empty"),
    # device functions
    (
        "a function that calls itself",
        "@device\ndef f(x):\n    return f(x)\n" + _KERNEL,
        "calls itself",
    ),
    (
        "functions that call each other",
        "@device\ndef f(x):\n    return g(x)\n\n\n@device\ndef g(x):\n    return f(x)\n" + _KERNEL,
        "stands below",
    ),
    ("a function twice", "@device\ndef f(x):\n    return x\n" * 2 + _KERNEL, "twice"),
    (
        "a number on some ways",
        "@device\ndef f(x):\n    if x:\n        return 1\n" + _KERNEL,
        "on some ways only",
    ),
    (
        "one number or two",
        "@device\ndef f(x):\n    if x:\n        return 1\n    return 1, 2\n" + _KERNEL,
        "2 numbers are returned here",
    ),
    (
        "a barrier in a function",
        "@device\ndef f(x):\n    cuda.syncthreads()\n" + _KERNEL,
        "stands in the kernel",
    ),
    (
        "shared memory in a function",
        "@device\ndef f(x):\n    b = cuda.shared.array(4, f32)\n    return b[x]\n" + _KERNEL,
        "made in a kernel",
    ),
    (
        "a thread's place by a function",
        (
            "@device\ndef f(x):\n    return cuda.grid(1) + x\n"
            "\n\n@kernel\ndef k(i, out: Out[f32]):\n    out[i] = f(i)\n"
        ),
        "CUDA form",
    ),
    (
        "an input written by a function",
        (
            "@device\ndef f(b, j):\n    b[j] = 1.0\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    f(x, i)\n"
        ),
        "read only",
    ),
    (
        "an input written by a function's function",
        (
            "@device\ndef f(b, j):\n    b[j] = 1.0\n\n\n@device\ndef g(b, j):\n    f(b, j)\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    g(x, i)\n"
        ),
        "read only",
    ),
    (
        "an input written atomically by a function",
        (
            "@device\ndef f(b, j):\n    cuda.atomic.add(b, j, 1.0)\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    f(x, i)\n"
        ),
        "read only",
    ),
    (
        "an array for a number",
        (
            "@device\ndef f(a):\n    return a + 1\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    out[i] = f(x)\n"
        ),
        "is an array",
    ),
    (
        "a number for an array",
        (
            "@device\ndef f(a):\n    return a[0]\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    out[i] = f(i)\n"
        ),
        "is no array",
    ),
    (
        "a number that is an array",
        "@device\ndef f(a: f32):\n    return a[0]\n" + _KERNEL,
        "is used as an array",
    ),
    (
        "an array of other dimensions",
        (
            "@device\ndef f(a):\n    return a[0, 0]\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    out[i] = f(x)\n"
        ),
        "has 1 dimensions",
    ),
    (
        "an array of another type",
        (
            "@device\ndef f(a: In[f64]):\n    return a[0]\n"
            "\n\n@kernel\ndef k(i, x: In[f32], out: Out[f32]):\n    out[i] = f(x)\n"
        ),
        "an array of f64",
    ),
    (
        "a result of another number",
        "@device\ndef f(a) -> tuple[f32, f32]:\n    return a\n" + _KERNEL,
        "returns 1 numbers, not 2",
    ),
    ("a result that runs", "@device\ndef f(a) -> eval(1):\n    return a\n" + _KERNEL, "annotated"),
    (
        "fast mathematics for one function",
        "@device(fastmath=True)\ndef f(a):\n    return a\n" + _KERNEL,
        "a decorator is",
    ),
    (
        "memory of a function and its functions",
        f"{_HOLDS.format('f', 'x')}\n\n{_HOLDS.format('g', 'f(x)')}{_KERNEL}",
        "and of what it calls have at most 8192",
    ),
    (
        "2^24 functions in one",
        "@device\ndef f0(x):\n    return x + 1\n\n\n" + _DEEP + _KERNEL,
        "too large with all that it calls",
    ),
    (
        "many functions",
        "".join(f"@device\ndef g{n}(x):\n    return x\n\n\n" for n in range(70)) + _KERNEL,
        "at most 64 functions",
    ),
    (
        "many constants",
        "".join(f"A{n} = 1\n" for n in range(300)) + _KERNEL,
        "at most 256 constants",
    ),
    # shared memory of a kernel of blocks
    (
        "more shared memory than a block has",
        "@kernel\ndef k(out: Out[f32]):\n    b = cuda.shared.array(40000, f64)\n    out[0] = 1\n",
        "at most 49152 bytes",
    ),
    (
        "shared memory of two arrays in one place",
        (
            "@kernel\ndef k(out: Out[f32]):\n    b = cuda.shared.array(0, f64)\n"
            "    c = cuda.shared.array(0, i64)\n    out[0] = 1\n"
        ),
        "the same memory",
    ),
    (
        "a barrier with an argument",
        "@kernel\ndef k(out: Out[f32]):\n    cuda.syncthreads(1)\n    out[0] = 1\n",
        "takes 0 arguments",
    ),
    (
        "a place of four dimensions",
        "@kernel\ndef k(out: Out[f32]):\n    out[cuda.grid(4)] = 1\n",
        "takes 1, 2 or 3",
    ),
    (
        "a place of true dimensions",
        "@kernel\ndef k(out: Out[f32]):\n    out[cuda.grid(True)] = 1\n",
        "takes 1, 2 or 3",
    ),
    (
        "a place as an index",
        "@kernel\ndef k(out: Out[f32, 2]):\n    out[cuda.grid(2)] = 1\n",
        "has 2",
    ),
    # the text itself
    ("an end of a text for C", "A = 1\x00\n" + _KERNEL, "U+0000"),
    (
        "tabs, whose width is a matter of taste",
        "@kernel\ndef k(i, out: Out[f32]):\n\tpass\n",
        "U+0009",
    ),
    ("a line end of old", "A = 1\r\n" + _KERNEL, "U+000D"),
    ("a page end", "A = 1\x0c\n" + _KERNEL, "U+000C"),
    ("half a character", "# \ud800\n" + _KERNEL, "U+D800"),
    ("a mark of byte order", "\ufeffA = 1\n" + _KERNEL, "U+FEFF"),
    ("text that is shown in another order", "# \u202e\n" + _KERNEL, "U+202E"),
    ("text of no width", "# \u200b\n" + _KERNEL, "U+200B"),
    ("a line end of Unicode's", "# \u2028eval(1)\n" + _KERNEL, "U+2028"),
    ("a letter that becomes another one", "\uff45val = 1\n" + _KERNEL, "no name and no number"),
    ("a letter that looks like another one", "\u0430 = 1\n" + _KERNEL, "no name and no number"),
    ("a digit that is none", "A = \u0663\n" + _KERNEL, "no name and no number"),
    ("a space that is none", "A\u00a0= 1\n" + _KERNEL, "not in this language"),
    ("an encoding, for those who keep it", "# -*- coding: utf-7 -*-\n" + _KERNEL, "an encoding"),
    (
        "an encoding in the second line",
        "#\n# vim: set fileencoding=utf-7 :\n" + _KERNEL,
        "an encoding",
    ),
    (
        "an escape in a docstring",
        _KERNEL.replace("    out", '    "\\N{BELL}"\n    out'),
        "docstring",
    ),
    ("a text without end", 'A = """\n' + _KERNEL, "docstring only|one `@kernel`|not Python"),
    ("a shell's line", "!ls\n" + _KERNEL, "not in this language"),
    ("a dict", "A = {}\n" + _KERNEL, "there are no dicts"),
    ("blanks at the end", "A = 1 \n" + _KERNEL, "blanks at the end"),
    ("a line without end", f"A = 1  # {'a' * 600}\n" + _KERNEL, "a line has at most"),
    ("a name without end", f"{'a' * 100} = 1\n" + _KERNEL, "a name has at most"),
    ("megabytes", "# a\n" * 10_000 + _KERNEL, "at most 32768 bytes"),
    (
        "megabytes of long characters",
        "# \u00e9\u00e9\u00e9\n" * 4_000 + _KERNEL,
        "at most 32768 bytes",
    ),
    (
        "statements without end",
        "A = 1" + "\\\n+1" * 250 + "\n" + _KERNEL,
        "a statement has at most",
    ),
    (
        "words without end",
        "@kernel\ndef k(i, out: Out[f32]):\n" + "    out[i]=(i+i)*(i+i)\n" * 900,
        "words and signs",
    ),
    ("brackets without end", "A = " + "(" * 60 + "1" + ")" * 60 + "\n" + _KERNEL, "brackets are"),
    (
        "blocks without end",
        "@kernel\ndef k(i, out: Out[f32]):\n"
        + "".join(f"{' ' * (n + 1)}if i:\n" for n in range(30))
        + f"{' ' * 31}pass\n",
        "blocks are at most",
    ),
    ("a sum without end", "A = 1" + "+1" * 150 + "\n" + _KERNEL, "nests deeper"),
    ("signs without end", "A = " + "-" * 300 + "1\n" + _KERNEL, "nests deeper"),
    (
        "type parameters of newer versions",
        "@device\ndef f[T](x):\n    return x\n" + _KERNEL,
        "not Python|type parameters",
    ),
    ("a type alias of newer versions", "type A = int\n" + _KERNEL, "not Python|a source holds"),
)

ATTACKS: Final[tuple[Attack, ...]] = (
    *(Attack(why, f"{_HEAD}    b = {inner}\n", says) for why, inner, says in EXPRESSIONS),
    *(Attack(why, f"{_HEAD}    {inner}\n", says) for why, inner, says in STATEMENTS),
    *(Attack(*row) for row in TEXTS),
)
