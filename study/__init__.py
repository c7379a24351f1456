"""The paper's experiments at the size of a desk: ``python -m study`` trains, compares and writes study/results/."""
