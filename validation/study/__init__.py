"""Parts of ``validation/losses_against_truth.py``; no module of the library imports them."""
