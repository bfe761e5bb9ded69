"""Privacy: what a guarantee rests on, what it costs, who has spent it, and whether it holds."""
