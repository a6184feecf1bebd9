"""Settlement on Solana: addresses, amounts, Merkle trees; the program and its client come later."""
