"""State that outlives a step: keys and values, and recurrences, of the sequences that are open."""
