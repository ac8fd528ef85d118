"""
The booking domain, usable without the doctor.
"""
