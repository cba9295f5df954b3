"""Pictures of the table that a model is trained on, and of who is in it: numbers from DuckDB, drawn by matplotlib.

Belongs here: what is counted for a picture, and how it is drawn. Aggregates only, nothing of one person.
"""
