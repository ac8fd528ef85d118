"""
What is wrong: evidence in, findings out. A check never repairs and never decides how a finding looks.
"""
