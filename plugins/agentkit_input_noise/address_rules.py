"""How the same US address is written otherwise, and which parts may be left out."""

from __future__ import annotations

Words = list[tuple[str, str]]
"""Words with their tags, in order."""

OPEN_CLASS = frozenset({"StreetName", "PlaceName", "BuildingName", "LandmarkName", "Recipient"})
"""Parts that hold names: where `entity_typos` writes."""

CLOSED_CLASS = frozenset(
    {
        "StreetNamePreDirectional", "StreetNamePostDirectional", "StreetNamePreType", "StreetNamePostType",
        "StreetNamePreModifier", "StreetNamePostModifier", "StateName", "CountryName", "OccupancyType",
        "SubaddressType", "USPSBoxType", "USPSBoxGroupType", "IntersectionSeparator", "CornerOf",
    }
)  # fmt: skip
"""Parts that hold one of a few words: where `spelling` writes, since nearly every word is in a slot."""

STREET_TYPES = (
    "St Street", "Ave Avenue", "Rd Road", "Dr Drive", "Ln Lane", "Blvd Boulevard", "Ct Court", "Pl Place",
    "Hwy Highway", "Pkwy Parkway", "Cir Circle", "Ter Terrace", "Sq Square", "Trl Trail", "Pike Turnpike",
)  # fmt: skip
UNIT_TYPES = ("Apt Apartment", "Ste Suite", "Fl Floor", "Rm Room", "Bldg Building")
DIRECTIONS = (
    "N North",
    "S South",
    "E East",
    "W West",
    "NE Northeast",
    "NW Northwest",
    "SE Southeast",
    "SW Southwest",
)
STATES = (
    "AL Alabama", "AZ Arizona", "CA California", "CO Colorado", "FL Florida", "GA Georgia", "IL Illinois",
    "IN Indiana", "MA Massachusetts", "MD Maryland", "MI Michigan", "MN Minnesota", "MO Missouri", "OH Ohio",
    "OR Oregon", "PA Pennsylvania", "TN Tennessee", "TX Texas", "VA Virginia", "WA Washington", "WI Wisconsin",
)  # fmt: skip

FORMS_BY_LEVEL = (STREET_TYPES + UNIT_TYPES, DIRECTIONS + STATES)
PLACE = frozenset({"PlaceName", "StateName", "ZipCode", "ZipPlus4", "CountryName"})

OPTIONAL_BY_LEVEL = (
    frozenset({"ZipPlus4", "CountryName", "StreetNamePreModifier", "StreetNamePostModifier"}),
    frozenset({"ZipCode", "StateName"}),
    frozenset(
        {"OccupancyType", "OccupancyIdentifier", "SubaddressType", "SubaddressIdentifier", "BuildingName"}
    ),
)
"""What `simplify` leaves out at level 1, at level 2 besides, at level 3 besides."""


def paraphrase(words: Words, level: int) -> Words:
    """The address in other words: level 1 and 2 swap abbreviations and full forms, level 3 puts the place first.

    Level 1: types of street and unit. Level 2: directions and states as well. Level 3: place, state and ZIP
    code come before the rest as well. Signs and case stay.
    """
    forms = {short_or_full: other for forms in FORMS_BY_LEVEL[:level] for form in forms
             for short_or_full, other in _both_ways(form)}  # fmt: skip
    closed = [(_other_form(word, forms) if tag in CLOSED_CLASS else word, tag) for word, tag in words]
    if level < len(FORMS_BY_LEVEL) + 1:
        return closed
    return [w for w in closed if w[1] in PLACE] + [w for w in closed if w[1] not in PLACE]


def simplify(words: Words, level: int) -> Words:
    """The address without its optional parts; what would leave nothing is left as it is."""
    dropped = frozenset().union(*OPTIONAL_BY_LEVEL[:level])
    return [w for w in words if w[1] not in dropped] or words


def _both_ways(form: str) -> list[tuple[str, str]]:
    short, full = form.lower().split()
    return [(short, full), (full, short)]


def _other_form(word: str, forms: dict[str, str]) -> str:
    core = word.rstrip(".,")
    other = forms.get(core.lower())
    if other is None:
        return word
    cased = other.upper() if core.isupper() else other.capitalize()
    return cased + ("," if word.endswith(",") else "")
