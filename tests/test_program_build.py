"""From C to a program: the same bytes everywhere, checked, and what is refused with whose words.

Not covered: that a virtual machine runs it (`test_program_vm.py`).
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from onchain.program.build import __main__ as command, compile as compiling
from onchain.program.build.compile import INCLUDE, compile_folder
from onchain.program.build.construct import FOLDER, Built, build, check_committed, file_name, save
from onchain.program.build.disassemble import disassemble, prove_same
from onchain.program.build.errors import (
    BuildError,
    CompileError,
    CompilerMissing,
    NotReproduced,
    ProgramError,
    VersionsDiffer,
)
from onchain.program.build.image import Version
from onchain.program.build.program_file import read_program, verifiers_hash
from onchain.program.build.syscalls import ALLOWED, NUMBERS
from tests.tree import ROOT

SAMPLE: Final = ROOT / "tests" / "program_samples" / "tally"
SOURCES: Final = FOLDER / "src"
#: The sample and, once it has sources, the settlement program.
FOLDERS: Final = [pytest.param(SAMPLE, id="sample")] + [
    pytest.param(SOURCES, id="settlement", marks=pytest.mark.slow)
    for _ in range(bool(list(SOURCES.glob("*.c"))))
]


@pytest.fixture(scope="module")
def built() -> Built:
    return build(SAMPLE)


def one_source(folder: Path, text: str) -> Path:
    (folder / "source.c").write_text(f'#include "sbpf.h"\n{text}')
    return folder


# -- the same bytes everywhere -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not list(SOURCES.glob("*.c")), reason="the program has no sources yet")
def test_the_committed_files_are_what_the_sources_give() -> None:
    assert command.main(["--check"]) == 0


def test_two_folders_give_the_same_bytes(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "a folder with another name"
    shutil.copytree(SAMPLE, elsewhere)
    monkeypatch.setenv("CPATH", "/nowhere")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.chdir(tmp_path)

    assert build(elsewhere) == built


def test_no_path_of_the_machine_is_in_a_program(tmp_path: Path) -> None:
    text = "u64 entrypoint(u8 *raw) { (void)raw; sol_log_(__FILE__, sizeof __FILE__); return 0; }"
    header = "static const char WHERE[] = __FILE__;\n"
    (tmp_path / "where.h").write_text(header)
    source = f'u64 entrypoint(u8 *raw);\n#include "where.h"\n{text}'
    source = source.replace("return 0", "sol_log_(WHERE, sizeof WHERE); return 0")

    for data in build(one_source(tmp_path, source)).files.values():
        assert b"source.c" in data
        assert str(tmp_path).encode() not in data
        assert str(ROOT).encode() not in data


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_depends_on_casts_being_forgiven(folder: Path) -> None:
    """`-fno-strict-aliasing` is a net below us; whoever falls into it is told here."""
    assert build(folder, extra=["-fstrict-aliasing"]) == build(folder)


def test_the_hash_is_that_of_verifiers() -> None:
    assert verifiers_hash(b"\0program\0\0\0") == sha256(b"\0program").hexdigest()


def test_a_changed_file_is_not_what_the_sources_give(built: Built, tmp_path: Path) -> None:
    save(built, tmp_path)
    check_committed(built, tmp_path)
    path = tmp_path / file_name(Version.V3)
    path.write_bytes(path.read_bytes() + b"\0")

    with pytest.raises(NotReproduced, match=r"hyper_settlement\.v3\.so is not what the sources"):
        check_committed(built, tmp_path)


def test_a_missing_file_is_not_what_the_sources_give(built: Built, tmp_path: Path) -> None:
    with pytest.raises(NotReproduced, match=r"hyper_settlement\.v0\.so"):
        check_committed(built, tmp_path)


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command builds the sample, as if it were the product's program."""
    shutil.copytree(SAMPLE, tmp_path / "src")
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    return tmp_path


def test_the_command_builds_both_files_and_says_their_hashes(
    product: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([]) == 0

    lines = capsys.readouterr().out.splitlines()
    for line, version in zip(lines, Version, strict=True):
        data = (product / file_name(version)).read_bytes()
        assert line == (
            f"hyper_settlement.{version.name.lower()}.so  {len(data):,} bytes"
            f"  sha256 {verifiers_hash(data)}"
        )


@pytest.mark.slow
def test_the_command_compares_and_writes_nothing(
    product: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--check"]) == 1
    assert "NotReproduced: hyper_settlement.v0.so" in capsys.readouterr().err
    assert not list(product.glob("*.so"))

    command.main([])
    assert command.main(["--check"]) == 0


def test_the_command_lists_the_instructions(
    product: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["--listing"])

    out = capsys.readouterr().out
    assert "\nstir:\n" in out
    assert "call sol_sha256" in out


@pytest.mark.parametrize("words", [["--compiler", "clang"], ["--check", "--output", "x"]])
def test_what_another_compiler_builds_never_takes_the_place_of_ours(
    product: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(words)
    assert "another compiler" in capsys.readouterr().err or "--check" in words


def test_the_command_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "onchain.program.build", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)

    assert "--compiler {zig,clang}" in done.stdout


# -- compilers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int x(void) { int unused; return 1; }", "unused-variable"),
        ("u64 *cast(u8 *a); u64 *cast(u8 *a) { return (u64 *)a; }", "cast-align"),
        ("u8 cut(u64 a); u8 cut(u64 a) { return a; }", "implicit-int-conversion"),
        ("const char *day(void); const char *day(void) { return __DATE__; }", "date-time"),
        ("void big(void); void f(u8 *); void big(void) { u8 a[5000]; f(a); }", "stack"),
        ("i64 div(i64 a, i64 b); i64 div(i64 a, i64 b) { return a / b; }", "signed division"),
        ("no C at all", "unknown type name"),
    ],
)
def test_the_compilers_words_are_the_refusal(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CompileError, match=f"(?s)^source.c: .*{words}"):
        build(one_source(tmp_path, text))


def test_a_folder_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no C source"):
        build(tmp_path)


@pytest.mark.parametrize("compiler", ["zig", "clang"])
def test_a_missing_compiler_says_how_to_get_it(
    compiler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CompilerMissing, match="install"):
        compiling.compiler_command(compiler)


def test_a_compiler_that_does_not_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "compiler_command", lambda _compiler: ["/nowhere/cc"])

    with pytest.raises(CompileError, match="could not be run"):
        compile_folder(SAMPLE, tmp_path)


# -- system calls ------------------------------------------------------------------------------

#: As Agave's own list says them.
KNOWN: Final = {
    "sol_log_": 0x207559BD,
    "sol_log_64_": 0x5C2A3178,
    "sol_log_compute_units_": 0x52BA5096,
    "sol_log_pubkey": 0x7EF088CA,
    "sol_log_data": 0x7317B434,
    "sol_panic_": 0x686093BB,
    "sol_memcpy_": 0x717CC4A3,
    "sol_memmove_": 0x434371F8,
    "sol_memset_": 0x3770FB22,
    "sol_memcmp_": 0x5FDCDE31,
    "sol_sha256": 0x11F49D86,
    "sol_create_program_address": 0x9377323C,
    "sol_try_find_program_address": 0x48504A38,
    "sol_invoke_signed_c": 0xA22B9C85,
    "sol_get_clock_sysvar": 0xD56B5FE9,
    "sol_get_rent_sysvar": 0xBF7188F6,
    "sol_get_sysvar": 0x13C1B505,
    "sol_get_stack_height": 0x85532D94,
    "sol_set_return_data": 0xA226D3EB,
    "sol_get_return_data": 0x5D2245E4,
}


def test_the_numbers_of_system_calls_are_those_of_the_runtime() -> None:
    assert NUMBERS == KNOWN


def test_the_header_declares_what_is_allowed() -> None:
    declared = re.findall(r"^\w+ (sol_\w+)\(", (INCLUDE / "sbpf.h").read_text(), re.MULTILINE)

    assert sorted(declared) == sorted(ALLOWED)


# -- one program in two files ------------------------------------------------------------------


def test_the_listings_differ_in_calls_and_addresses_only(built: Built) -> None:
    first, second = (
        read_program(built.files[version]).text for version in (Version.V0, Version.V3)
    )
    differing = {
        first[at] for at in range(0, len(first), 8) if first[at : at + 8] != second[at : at + 8]
    }

    assert len(first) == len(second) > 2000
    # Calls by name, calls by pointer, addresses and their second halves.
    assert differing == {0x85, 0x8D, 0x18, 0x00}
    assert built.listing(Version.V0) == built.listing(Version.V3)


def test_a_listing_without_names_has_numbers(built: Built) -> None:
    lines = disassemble(read_program(built.files[Version.V3]))

    assert "entrypoint:" in lines
    assert any(re.search(r"  call \d+$", line) for line in lines)


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.slow
def test_every_changed_bit_of_code_is_another_program(built: Built) -> None:
    """Of v3, whose file ends with its code: each byte of it, one bit."""
    v0, data = read_program(built.files[Version.V0]), built.files[Version.V3]
    start = len(data) - len(v0.text)
    unseen = []
    for at in range(start, len(data)):
        other = read_program(changed(data, at, bytes([data[at] ^ 1])))
        try:
            prove_same(v0, other)
        except VersionsDiffer:
            continue
        unseen.append(at - start)

    assert unseen == []


def test_every_changed_byte_of_a_constant_is_another_program(built: Built) -> None:
    v0, data = read_program(built.files[Version.V0]), built.files[Version.V3]
    start = 64 + 2 * 56
    for at in range(start, start + len(v0.rodata)):
        other = read_program(changed(data, at, bytes([data[at] ^ 0x80])))

        with pytest.raises(VersionsDiffer, match="the constant at"):
            prove_same(v0, other)


def test_a_program_that_begins_elsewhere_is_another(built: Built) -> None:
    v0, data = read_program(built.files[Version.V0]), built.files[Version.V3]
    (entry,) = struct.unpack_from("<Q", data, 24)

    with pytest.raises(VersionsDiffer, match="begin elsewhere"):
        prove_same(v0, read_program(changed(data, 24, struct.pack("<Q", entry + 8))))


# -- the files, read by other eyes -------------------------------------------------------------


def test_a_v3_file_is_what_the_strict_loader_asks_for(built: Built) -> None:
    """The loader's conditions, spelled from its source and not from our writer."""
    data = built.files[Version.V3]
    assert data[:16] == b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    machine, version, entry, segments_at = struct.unpack_from("<HIQQ", data, 18)
    (flags, own_size, segment_size, count) = struct.unpack_from("<IHHH", data, 48)
    assert (machine, version, segments_at, flags) == (247, 1, 64, 3)
    assert (own_size, segment_size, count) == (64, 56, 2)
    end, in_file = 64 + 2 * 56, 0
    for number, (wanted_flags, address) in enumerate([(4, 0), (1, 1 << 32)]):
        kind, flags, offset, virtual, physical, in_file, in_memory = struct.unpack_from(
            "<IIQQQQQ", data, 64 + 56 * number
        )
        assert (kind, flags, offset) == (1, wanted_flags, end)
        assert virtual == physical == address
        assert in_file == in_memory
        assert in_file % 8 == 0
        end += in_file
    assert end == len(data)
    assert entry % 8 == 0
    assert 0 <= entry - (1 << 32) < in_file
    # Nothing that a source defines can be taken for a null pointer.
    assert data[64 + 2 * 56 :][:8] == bytes(8)


@pytest.mark.parametrize(
    ("at", "new", "words"),
    [
        (0, b"\x7fELG", "no BPF program"),
        (18, b"\x08\x01", "no BPF program"),
        (48, b"\x02", "SBPF v2 is not written here"),
        (48, b"\x00", r"no \.text|beyond|names|within a record"),
        (56, b"\x03", "the segments are not"),
        (64 + 4, b"\x05", "the segments are not"),
        (64 + 16, b"\x08", "the segments are not"),
        (64 + 24, b"\x08", "the segments are not"),
        (64 + 40, b"\xff", "not as long in memory"),
        (52, b"\x41", "version and sizes"),
        (54, b"\x37", "version and sizes"),
        (20, b"\x02", "version and sizes"),
        (24, b"\x04", "begins outside its code"),
        (24, b"\x00" * 8, "begins outside its code"),
    ],
)
def test_a_v3_file_that_the_loader_would_refuse_is_refused(
    built: Built, at: int, new: bytes, words: str
) -> None:
    with pytest.raises(ProgramError, match=words):
        read_program(changed(built.files[Version.V3], at, new))


def test_a_v0_file_cut_anywhere_is_refused(built: Built) -> None:
    data = built.files[Version.V0]

    for size in (*range(0, 400, 7), *range(400, len(data), 97), len(data) - 1):
        with pytest.raises(ProgramError):
            read_program(data[:size])


def test_a_v3_file_cut_anywhere_is_refused(built: Built) -> None:
    data = built.files[Version.V3]

    for size in range(0, len(data), 61):
        with pytest.raises(ProgramError):
            read_program(data[:size])


def test_a_v0_file_has_sections_in_the_order_of_the_file(built: Built) -> None:
    data = built.files[Version.V0]
    sections_at, count, names = struct.unpack_from("<Q", data, 40)[0], data[60], data[62]
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, sections_at + 64 * n) for n in range(count)]
    table = data[headers[names][4] :]
    spelled = [table[h[0] : table.index(b"\0", h[0])].decode() for h in headers]

    assert spelled == [
        *("", ".text", ".rodata", ".dynamic", ".dynsym", ".dynstr", ".rel.dyn", ".shstrtab"),
    ]
    assert [h[4] for h in headers] == sorted(h[4] for h in headers)
    assert all(h[3] in {0, h[4]} for h in headers)


def test_a_program_without_system_calls_has_no_relocations(tmp_path: Path) -> None:
    """The v0 loader refuses a table of none."""
    source = "u64 entrypoint(u8 *raw);\nu64 entrypoint(u8 *raw) { return raw[0]; }"
    built = build(one_source(tmp_path, source))

    assert b".rel.dyn" not in built.files[Version.V0]
    assert read_program(built.files[Version.V0]).syscalls == {}
