"""What runs first in the one file: is this the right Python, and where may it unpack?

In:   the file itself, `built_for.json` in it, the environment.
Out:  shiv's bootstrap, which unpacks once, or one sentence and exit status 1.
Rules:
  1. Any Python 3.6 or newer reads this far: what it is too old for is said, not a traceback.
  2. It unpacks into `SHIV_ROOT`, else the service manager's cache folder, else the user's own.
  3. Others must not be able to write where code is unpacked: they would run as this user.
  4. A folder that cannot be written does, if this very build lies there unpacked.
  5. What else is installed here is not imported: it is the locked packages that run.
Why not a temporary folder where nothing else can be written: each start would unpack anew, and
leave it behind when it is killed.
"""

import json
import os
import platform
import shutil
import stat
import sys
import zipfile

#: Unpacked, with room for compiled code.
NEEDED_MB = 250


def complaint(built, here):
    """Why this Python cannot run the file; an empty text if it can.

    Args:
        built: What it was built for: implementation, python, machine, glibc.
        here: The same of what runs it.
    """
    wanted = "{} {} on {}".format(
        built["implementation"], ".".join(map(str, built["python"])), built["machine"]
    )
    found = "{} {} on {}".format(
        here["implementation"], ".".join(map(str, here["python"])), here["machine"]
    )
    if wanted != found:
        return "it is built for {}, and this is {}: start it by `python{} {}`, or build it here by `./run pyz`".format(
            wanted, found, ".".join(map(str, built["python"])), os.path.basename(sys.argv[0])
        )
    if here["glibc"] < built["glibc"]:
        return "it needs the C library glibc {} or newer, and this is {}: use a newer system, or build it here by `./run pyz`".format(
            ".".join(map(str, built["glibc"])), ".".join(map(str, here["glibc"])) or "another one"
        )
    return ""


def this_python():
    """What runs this, in the terms of `built_for.json`."""
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return {
        "implementation": platform.python_implementation(),
        "python": list(sys.version_info[:2]),
        "machine": platform.machine(),
        "glibc": [int(part) for part in version.split(".")] if name == "glibc" else [],
    }


def chosen_root(environ):
    """The folder into which it unpacks."""
    if environ.get("SHIV_ROOT"):
        return environ["SHIV_ROOT"]
    if environ.get("CACHE_DIRECTORY"):  # systemd's, of the unit's `CacheDirectory=`
        return environ["CACHE_DIRECTORY"].split(":")[0]
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "hypernode")


def strangers_way_in(path):
    """Why what lies at `path` may be somebody else's; an empty text if it is ours alone."""
    found = os.stat(path)
    if found.st_uid not in (0, os.getuid()):
        return "it belongs to somebody else"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write there"
    return ""


def unpack(root):
    """Unpack this build below `root`, unless it is there.

    Raises:
        OSError: It cannot be written.
    """
    import _bootstrap

    with zipfile.ZipFile(sys.argv[0]) as archive:
        env = _bootstrap.Environment.from_json(archive.read("environment.json").decode())
        target = _bootstrap.cache_path(archive, root, env.build_id)
        if (target / "site-packages").exists():
            return target
        os.makedirs(root, mode=0o700, exist_ok=True)
        refuse_if(strangers_way_in(root), root)
        try:
            _bootstrap.extract_site_packages(archive, target)
        except OSError:
            shutil.rmtree(target.with_name(target.name + ".tmp"), ignore_errors=True)
            raise
        return target


def refuse_if(reason, root=""):
    """End with one sentence if there is a reason."""
    if reason and root:
        reason = (
            "it cannot unpack into {}: {}. Set SHIV_ROOT to a folder that only this user can "
            "write, with {} MB free"
        ).format(root, reason, NEEDED_MB)
    if reason:
        sys.exit("{}: {}".format(os.path.basename(sys.argv[0]), reason))


def be_alone():
    """Take this Python's own packages and those of `PYTHONPATH` out of the search."""
    named = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    installed = ("site-packages", "dist-packages")
    sys.path[:] = [
        path for path in sys.path if os.path.basename(path) not in installed and path not in named
    ]


def main():
    """Check, unpack, and hand over to the command `hypernode`."""
    with zipfile.ZipFile(sys.argv[0]) as archive:
        built = json.loads(archive.read("built_for.json").decode())
    refuse_if(complaint(built, this_python()))
    root = os.path.abspath(os.path.expanduser(chosen_root(os.environ)))
    os.environ["SHIV_ROOT"] = root
    try:
        refuse_if(strangers_way_in(unpack(root)), root)
    except OSError as error:
        refuse_if(error.strerror or str(error), root)
    be_alone()
    import _bootstrap

    _bootstrap.bootstrap()


if __name__ == "__main__":
    main()
