"""What was measured in the public course data: sizes, shares and distances in time that a sample reproduces."""

from itertools import product

COURSE_CUSTOMERS = 956
SHARING_RESEARCH, SHARING_PUBLIC, SHARING_FRIENDS = 482, 491, 508
UPDATED_LATER = 44

# In milliseconds.
FIRST_REGISTRATION = 1_655_500_000_000
REGISTRATION_GAP = (20, 1_100)
UPDATED_AT_ONCE = 0.12
"""The share of later updates that come at once; the others come about a minute later."""
MINUTE_LATER = (58_000, 68_300)
SLOWEST_STEP = 4_000
AFTER_REGISTRATION = (2_330, 2_480)
"""From registration to the last reading, per reading of a device.

The slower somebody steps, the more of the readings precede the registration: 19 % of all.
"""
MEETING = 0.95
"""The share of walks that are moved to meet the one before.

Others meet by chance, because people register that close together: 6 % of the pairs of a device reading and a phone
reading at the same instant are about two people.
"""

ORIENTATIONS = [
    f'"x":{x},"y":{y},"z":{z}}}\n'.encode() for x, y, z in product((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (-1.0, 0.0))
]
"""Every reading that a phone may send, as the end of its line."""
