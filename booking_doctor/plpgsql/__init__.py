"""
What a trigger's function does to the row that passes it, told from its source alone. Nothing here asks a database.
"""
