"""How fast: ratios measured in one run, methods taking turns."""
