"""Measures of a candidate: one declaration each, about single facts or about the candidate as a whole."""
