"""What lies at an address, in words: for whoever named the wrong one. Pure.

In:   an account of the chain, or none.
Out:  a phrase such as `a mint of SPL Token` or `a wallet with 10 SOL`.
Not covered: accounts of programs that we do not call; they are named by their owner and size.
Source: `docs/program.md`, "Accounts"; spl-token's `Mint` and `Account`; the loaders' states.
"""

from __future__ import annotations

from typing import Final

from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, format_sol
from onchain.chain import Account
from onchain.places import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from onchain.program.layout import ACCOUNTS

_TOKENS: Final = {TOKEN_PROGRAM: "SPL Token", TOKEN_2022_PROGRAM: "Token-2022"}
_MINT_BYTES, _TOKEN_BYTES = 82, 165
_KIND_AT, _IS_MINT = 165, 1
_LOADERS: Final = frozenset(
    map(
        decode_address,
        (
            "BPFLoaderUpgradeab1e11111111111111111111111",
            "BPFLoader2111111111111111111111111111111111",
            "LoaderV411111111111111111111111111111111111",
            "NativeLoader1111111111111111111111111111111",
        ),
    )
)


def described(account: Account | None) -> str:
    """A phrase with its article; an account that nobody opened is `nothing`."""
    if account is None:
        return "nothing"
    if account.executable:
        return "a program"
    if account.owner == SYSTEM_PROGRAM and not account.data:
        return f"a wallet with {format_sol(account.lamports)} SOL"
    if account.owner in _TOKENS:
        return _of_tokens(account, _TOKENS[account.owner])
    if account.owner in _LOADERS:
        return "a file of a program, or a buffer for one"
    return _of_a_program(account)


def _of_a_program(account: Account) -> str:
    owner, size = encode_address(account.owner), len(account.data)
    for layout in ACCOUNTS:
        if account.data[:8] == layout.discriminator and size == layout.size:
            return f"a {layout.name} of the program {owner}"
    return f"an account of {size} bytes of the program {owner}"


def _of_tokens(account: Account, program: str) -> str:
    data = account.data
    is_long = len(data) > _TOKEN_BYTES
    if len(data) == _MINT_BYTES or (is_long and data[_KIND_AT] == _IS_MINT):
        return f"a mint of {program}"
    if len(data) < _TOKEN_BYTES:
        return f"an account of {len(data)} bytes of {program}"
    mint, owner = (encode_address(data[at : at + 32]) for at in (0, 32))
    amount = format_hyper(int.from_bytes(data[64:72], "little"))
    # Decimals are the mint's to say; those of HYPER are a guess for any other.
    return f"a token account of {owner} (mint {mint}, {amount} at six decimals)"
