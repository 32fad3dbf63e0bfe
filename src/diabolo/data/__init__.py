"""Reading: from a name or a path to the parts of a data set. `diabolo.data.splits.load` is the way in."""
