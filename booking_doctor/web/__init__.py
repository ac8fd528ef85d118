"""
The corrected booking API over HTTP. Needs the extra ``web``; nothing else of the project does.
"""
