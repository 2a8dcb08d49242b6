"""Which recipe: a portfolio of stacks and widths, judged without labels, under constraints."""
