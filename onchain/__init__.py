"""Settlement on Solana: addresses, amounts and Merkle trees here; the program and its client later."""
