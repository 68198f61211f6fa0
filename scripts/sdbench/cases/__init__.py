"""What to run, and why a cell of the matrix is absent: cases, options, what each backend has."""
