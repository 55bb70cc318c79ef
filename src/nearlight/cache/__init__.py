"""State that outlives a step: keys and values of the sequences that are open."""
