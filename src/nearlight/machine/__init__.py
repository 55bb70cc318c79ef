"""What is known of this machine: its cores, its memory, its instruction level, and how fast it reads and multiplies."""
