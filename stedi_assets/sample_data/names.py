"""Names of invented people, each made of a first and a last name."""

from itertools import product

_FIRST_NAMES = """
Ada Alma Anton Bela Bruno Carla Cleo Dario Dora Edda Elio Enno Fenja Fiona Gero Greta Hanno Hedda Ida Ivo Jella Jonte
Kalle Kira Lasse Leni Malo Mila Nils Nora Oda Ove Pelle Romy Runa Silas Svea Thilo Una Wanda
"""
_LAST_NAMES = """
Alderbrook Ashmeadow Beechhill Birchwater Brackenfell Briarfield Cedarholm Cloverly Cobblestead Dunegrass Elmshade
Fernbank Finchley Foxglen Gorsemoor Hazelton Heathercote Hollyoak Ivybridge Juniperdale Kestrelby Larkmere Lindenway
Maplethorpe Marshwick Mossgrove Oakhollow Otterburn Pebblebay Pinecrest Quincewood Reedham Rowanlea Sedgewater Sorrelby
Thistledown Tidewell Willowgate Wrenfield Yarrowby
"""
NAMES = list(product(_FIRST_NAMES.split(), _LAST_NAMES.split()))
NAME_STRIDE = 769
"""The step from one customer's name to the next. Coprime to the number of names, so all are used before any repeats."""
