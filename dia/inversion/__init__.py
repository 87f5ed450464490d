"""Attack what a real client sent: any torch model, one update, no simulated victim."""
