"""What callers try, without a key and with one, on a whole system that runs: `make attack`. Each attack says what hasn't held."""
