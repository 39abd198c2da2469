"""results.csv: its rows, and the tables that are drawn from them."""
