"""
The only rooms that know a driver.
"""
