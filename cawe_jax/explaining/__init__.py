"""The verbs: one explanation, a path of multipliers, a mask of an exact budget."""
