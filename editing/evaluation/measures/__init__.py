"""What is measured of a candidate: a declaration each, about single facts or about the candidate as a whole."""
