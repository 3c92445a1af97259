"""What a learner's numbers are read against: graphs and models that are not learned by a network."""
