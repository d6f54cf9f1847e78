"""One config per figure and table; ``python -m experiments.run`` reads them."""
