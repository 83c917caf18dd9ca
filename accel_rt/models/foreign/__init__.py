"""Networks of other people: everything that gives scores or labels for a frame can be a branch."""
