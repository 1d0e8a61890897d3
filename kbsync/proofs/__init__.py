"""What the audit log proves to others: signing keys, heads at witnesses, proof files, bundles of evidence."""
