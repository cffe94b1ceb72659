"""Planning: from the training data to the plan of a network's input, and the network and patch that fit it."""
