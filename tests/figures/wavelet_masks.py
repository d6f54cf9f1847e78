"""Shapes of wavelet masks."""

DB3_224 = (11, 11, 18, 32, 59, 114)


def wavelet_shapes(heights, widths):
  counts = [1] + [3] * (len(heights) - 1)
  return [(n, h, w, 1) for n, h, w in zip(counts, heights, widths, strict=True)]
