"""How accurate: known targets, peers beside us in the same run, every number in a JSON file."""
