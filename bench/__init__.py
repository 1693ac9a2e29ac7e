"""What milepost costs, beside the floor and beside its peers: `python -m bench`. docs/performance.md tells the method."""
