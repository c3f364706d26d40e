"""A run on disk: its files, each written whole or only ever grown, and the chain between them."""
