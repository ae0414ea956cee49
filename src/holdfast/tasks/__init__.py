"""Tasks: examples, prompts and scoring. One object serves training, filtering and evaluation."""
