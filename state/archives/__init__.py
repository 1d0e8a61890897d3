"""Events that were moved out of the ledger: their files, the signed cuts that state them, and what reads them."""
