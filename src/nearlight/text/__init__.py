"""The text floor: everything between a person's words and a model's token ids.

    tokenizer      text to ids and back, whatever files the tokenizer came in
    streaming      ids to text, piece by piece, never half a character
    stops          stop strings over a stream
    thinking       a reasoning model's thinking, separated from its answer
    answer         the three above in a row
    template       chat templates: programs from strangers, run on a budget
    conversation   a chat whose every turn continues the ids already in the cache

Importing this package imports nothing: `tokenizers` and `jinja2` load when a tokenizer or a template is built.
"""
