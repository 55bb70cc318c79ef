"""How the next token is chosen from a row of logits: the policy a person asks for, and the sampler that follows it."""
