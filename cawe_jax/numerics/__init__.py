"""Numbers: masks as one array, random bits, and which draws are used for what."""
