"""What requests use and what it costs: prices, the account of usage, and its reports."""
