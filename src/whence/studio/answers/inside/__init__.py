"""What views of one step ask: predictions, receipts, cells, the flow."""
