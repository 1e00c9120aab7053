"""What strangers and holders of keys try on a whole system that runs: `make attack`. Each attack says what has not held."""
