"""`@solana/web3.js` against the dev node: what a page of a wallet or a market does with a chain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trio

from onchain.address import encode_address
from onchain.devnode import DevNode
from onchain.machine import Machine
from tests.chains import key, put_mint, put_tokens, served
from tests.web3js import web3js_folder

SCRIPT = """
const web3 = require("@solana/web3.js");
const [http, wsEndpoint, holder] = process.argv.slice(1);
const told = {};
(async () => {
  const chain = new web3.Connection(http, { commitment: "confirmed", wsEndpoint });
  const alice = web3.Keypair.generate(), bob = web3.Keypair.generate().publicKey;
  const latest = await chain.getLatestBlockhash();
  const airdrop = await chain.requestAirdrop(alice.publicKey, 5e9);
  told.airdrop = (await chain.confirmTransaction({ signature: airdrop, ...latest })).value.err;
  told.balance = await chain.getBalance(alice.publicKey);
  told.slots = await new Promise((done) => {
    const number = chain.onSlotChange((news) => {
      chain.removeSlotChangeListener(number).then(() => done(news.slot > 0));
    });
  });
  const changed = new Promise((done) =>
    chain.onAccountChange(bob, (account) => done(account.lamports)));
  const logged = new Promise((done) => chain.onLogs(bob, (logs) => done(logs.err)));
  await new Promise((done) => setTimeout(done, 100));
  const move = (lamports) => new web3.Transaction().add(web3.SystemProgram.transfer(
    { fromPubkey: alice.publicKey, toPubkey: bob, lamports }));
  const signature = await web3.sendAndConfirmTransaction(chain, move(1e9), [alice]);
  told.changed = await changed;
  told.logged = await logged;
  const back = await chain.getTransaction(signature, { maxSupportedTransactionVersion: 0 });
  told.fee = back.meta.fee;
  const parsed = await chain.getParsedTransaction(signature, { maxSupportedTransactionVersion: 0 });
  told.signer = parsed.transaction.message.accountKeys[0].signer;
  told.listed = (await chain.getSignaturesForAddress(bob))[0].signature === signature;
  try { await web3.sendAndConfirmTransaction(chain, move(99e9), [alice]); }
  catch (error) { told.refused = /custom program error: 0x1/.test(error.message); }
  const { blockhash } = await chain.getLatestBlockhash();
  const message = new web3.TransactionMessage({ payerKey: alice.publicKey,
    recentBlockhash: blockhash, instructions: move(2e9).instructions }).compileToV0Message();
  told.cost = (await chain.getFeeForMessage(message)).value;
  const versioned = new web3.VersionedTransaction(message);
  told.simulated = (await chain.simulateTransaction(versioned)).value.err;
  versioned.sign([alice]);
  const second = await chain.sendRawTransaction(versioned.serialize());
  told.confirmed = (await chain.confirmTransaction(second)).value.err;
  told.info = (await chain.getAccountInfo(bob)).lamports;
  told.many = (await chain.getMultipleAccountsInfo([bob, web3.Keypair.generate().publicKey]))
    .map((account) => account && account.lamports);
  const account = new web3.PublicKey(holder);
  told.token = (await chain.getTokenAccountBalance(account)).value.uiAmountString;
  const program = new web3.PublicKey("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
  told.held = (await chain.getProgramAccounts(program, { filters: [{ dataSize: 165 }] })).length;
  const owner = (await chain.getParsedAccountInfo(account)).value.data.parsed.info.owner;
  told.owned = (await chain.getParsedTokenAccountsByOwner(new web3.PublicKey(owner),
    { programId: program })).value.length;
  told.rent = await chain.getMinimumBalanceForRentExemption(0);
  told.fees = (await chain.getRecentPrioritizationFees()).length;
  told.version = (await chain.getVersion())["solana-core"];
  told.epoch = (await chain.getEpochInfo()).slotsInEpoch;
  told.valid = (await chain.isBlockhashValid(blockhash)).value;
  process.stdout.write(JSON.stringify(told));
  process.exit(0);
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.slow
async def test_a_page_can_do_all_that_it_does_on_a_cluster(tmp_path: Path) -> None:
    folder = await trio.to_thread.run_sync(web3js_folder, tmp_path)
    if folder is None:
        pytest.skip("no node, or no @solana/web3.js to be had")
    node = DevNode(Machine(name="page", confirm_slots=1, finalize_slots=31), slot_s=0.05)
    mint, holder = key("mint"), key("holder")
    put_mint(node.machine, mint.address)
    put_tokens(node.machine, holder.address, mint.address, key("owner").address, 2_500_000)

    with trio.fail_after(60):
        async with served(node) as ports:
            arguments = [
                f"http://127.0.0.1:{ports.http}",
                f"ws://127.0.0.1:{ports.websocket}",
                encode_address(holder.address),
            ]
            done = await trio.run_process(
                [shutil.which("node") or "node", "-e", SCRIPT, "--", *arguments],
                cwd=folder,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )

    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {
        "airdrop": None,
        "balance": 5_000_000_000,
        "slots": True,
        "changed": 1_000_000_000,
        "logged": None,
        "fee": 5_000,
        "signer": True,
        "listed": True,
        "refused": True,
        "cost": 5_000,
        "simulated": None,
        "confirmed": None,
        "info": 3_000_000_000,
        "many": [3_000_000_000, None],
        "token": "2.5",
        "held": 1,
        "owned": 1,
        "rent": 890_880,
        "fees": 1,
        "version": "2.2.0",
        "epoch": 432_000,
        "valid": True,
    }
