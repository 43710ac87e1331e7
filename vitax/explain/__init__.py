"""Methods of explanation, as pure functions of a traced model: attention, gradients, relevance."""
