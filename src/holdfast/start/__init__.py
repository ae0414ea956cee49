"""The first experiment on data of one's own: what lies there, and a file that fits it."""
