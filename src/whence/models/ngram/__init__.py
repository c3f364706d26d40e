"""Counted models: n-grams of any order, smoothed, and a GPT that corrects them."""
