"""A run in one file that anyone can check: records, settings, versions, and the tables made from them."""
