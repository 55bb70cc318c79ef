"""What a terminal shows and reads. Nothing here knows a command, a model or the engine.

tty           what the terminal can do; styles; text without control characters
wrapping      how wide text is, and where its lines are broken
table         columns that line up
live          text while it is being written: its last rows change
markdown/     Markdown while it is being written
answer        the two channels of an answer, thinking and text
progress      a progress bar
line_editor   the line a person types into
keys          what keys do to the terminal during an answer
streams       stdin, stdout and stderr, also closed or full
"""
