"""Tables as they are stored: reading, publishing, going back to a whole one.

Does not belong here: what a table means (`transforms`), and whose data may be in it (`privacy`).
"""
