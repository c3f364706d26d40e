"""Attribution: which tokens, examples, heads and modules account for a number."""
