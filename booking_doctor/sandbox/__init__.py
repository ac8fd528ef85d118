"""
A world to rehearse in: a database, a Twilio simulator and every known fault, planted.
"""
