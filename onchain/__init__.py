"""Settlement on Solana: the program, who calls it, and the chains on which it runs."""
