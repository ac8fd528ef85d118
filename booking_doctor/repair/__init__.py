"""
Missing rows planned, applied, verified and undone.
"""
