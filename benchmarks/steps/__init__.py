"""Training steps of Holdfast and TRL side by side: the same model, data and sizes in each."""
