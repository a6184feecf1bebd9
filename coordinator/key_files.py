"""The key files that a coordinator signs for the chain with: that they serve, before anything else.

In:   settings by their names, as far as they are valid.
Out:  each problem with the setting that it is about.
Not here: whose keys they are on the chain (`settlement.shell`, once the chain is read).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from coordinator.config import Config, ConfigError
from coordinator.protocol.signing import KeyFileError, Keypair, load_keypair
from onchain.address import encode_address

#: Settings that are key files.
KEY_FILES: Final = ("publisher_key", "voucher_key", "sponsor_key")


def key_file_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings whose files cannot serve, each with what is wrong."""
    keys: dict[str, Keypair] = {}
    for setting in KEY_FILES:
        path = values.get(setting)
        if path is None:
            continue
        try:
            keys[setting] = load_keypair(Path(path))
        except FileNotFoundError:
            yield setting, f"there is no key file {path}: make one with `hypernode wallet new`"
        except IsADirectoryError:
            yield setting, f"{path} is a folder, not a key file"
        except KeyFileError as error:
            yield setting, f"{path}: {error.args[1]}"
        except OSError as error:
            yield setting, f"{path} cannot be read: {error.strerror}"
    yield from _same(keys, "voucher_key", "the publisher and the vouchers", "a ledger wants two")
    why = "an empty sponsor would stop roots too"
    yield from _same(keys, "sponsor_key", "the publisher and the sponsor", why)


def _same(
    keys: Mapping[str, Keypair], setting: str, who: str, why: str
) -> Iterator[tuple[str, str]]:
    """That this key is the publisher's too."""
    publisher, other = keys.get("publisher_key"), keys.get(setting)
    if publisher and other and publisher.address == other.address:
        yield setting, f"{who} have one key, {encode_address(other.address)}: {why}"


def check_key_files(config: Config) -> None:
    """Refuse a start whose key files cannot serve.

    Raises:
        ConfigError: each line names a setting and its file.
    """
    values = {name: getattr(config, name) for name in KEY_FILES}
    if lines := [f"{setting}: {said}" for setting, said in key_file_problems(values)]:
        raise ConfigError(*lines)
