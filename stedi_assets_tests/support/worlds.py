"""Random small worlds: a few people, devices and readings each, with everything that makes attribution hard.

A world is drawn from few names, instants and values, so that collisions of every kind are common: several records of
one person, equal dates, withdrawals, other spellings of one e-mail, shared and handed-on devices, readings of two
holders at one instant, exact repeats, and customer records that end in quarantine.
"""

import json
import random
import re
import unicodedata
from typing import Any

from stedi_assets.storage.lake import Lake
from stedi_assets_tests.support.lakes import root_of

AS_OF = 1_700_000_000_000
_INSTANTS = [AS_OF - 4_000, AS_OF - 3_000, AS_OF - 2_000, AS_OF - 1_000, AS_OF, AS_OF + 1, AS_OF + 1_000]
_INVISIBLE = ["\u200b", "\u00ad", "\ufeff", "\ufe0f", "\U000e0041"]
_BLANKS = ["", "", "", " ", "\t", "\u00a0", "\u200b", "\u2003", "\n", "\r\n", "\u2028"]


def write_worlds(lake: Lake, rng: random.Random, *, count: int) -> int:
    """Write the landing files of `count` worlds; return how many."""
    lines: dict[str, list[str]] = {"customer": [], "accelerometer": [], "step_trainer": []}
    for number in range(count):
        _world(lines, rng, f"{number}")
    for source, records in lines.items():
        folder = root_of(lake) / source / "landing"
        folder.mkdir(parents=True, exist_ok=True)
        half = len(records) // 2
        (folder / "one.json").write_text("\n".join(records[:half]) + "\n")
        (folder / "two.jsonl").write_text("".join(records[half:]))
    return count


def _world(lines: dict[str, list[str]], rng: random.Random, world: str) -> None:
    people = [
        f"{name}.{world}@example.com"
        for name in ("ada", "jos\u00e9", "\u03bd\u03af\u03ba\u03bf\u03c2")[: rng.randint(1, 3)]
    ]
    # A number as text, which broken records write as one.
    devices = [f"{world}{letter}" for letter in ("1", "-device-b")[: rng.randint(1, 2)]]
    for _ in range(rng.randint(1, 6)):
        lines["customer"].append(_customer(rng, rng.choice(people), rng.choice(devices)))
    phone = [(rng.choice(people), rng.choice(_INSTANTS), rng.choice((0.0, 1.0))) for _ in range(rng.randint(1, 8))]
    for person, instant, x in phone:
        reading = {"user": _addressed(rng, person), "timestamp": instant, "x": x, "y": 1, "z": -1.5}
        lines["accelerometer"].append(json.dumps(reading))
    for _ in range(rng.randint(1, 8)):
        instant = rng.choice(phone)[1] if rng.random() < 0.8 else rng.choice(_INSTANTS)
        distance = rng.choice((200, 201))
        serial = _spelled(rng, rng.choice(devices))
        step = {"sensorReadingTime": instant, "serialNumber": serial, "distanceFromObject": distance}
        lines["step_trainer"].append(json.dumps(step))


def _customer(rng: random.Random, person: str, device: str) -> str:
    record: dict[str, Any] = {
        "customerName": rng.choice(("Ada Example", "Ben Example")),
        "email": _addressed(rng, person),
        "birthDay": "0967-01-01",
        "serialNumber": _spelled(rng, device),
    }
    for name, chance in (("registrationDate", 0.7), ("lastUpdateDate", 0.8), ("shareWithResearchAsOfDate", 0.6)):
        if rng.random() < chance:
            record[name] = rng.choice(_INSTANTS)
    if "shareWithResearchAsOfDate" not in record and rng.random() < 0.4:
        record["shareWithResearchAsOfDate"] = rng.choice((0, False, "", None))
    if rng.random() < 0.3:
        record["shareWithFriendsAsOfDate"] = rng.choice(_INSTANTS)
    text = json.dumps(record)
    return _broken(rng, text) if rng.random() < 0.15 else text


def _broken(rng: random.Random, text: str) -> str:
    """Return a record that ends in quarantine, its e-mail readable or not."""
    return rng.choice(
        (
            text[:-1] + ', "registrationDate": "yesterday"}\n',
            text[:-1] + ', "EMAIL": "other.' + text.split('"email": "')[1].split('"', maxsplit=1)[0].strip() + '"}\n',
            text[:-1] + ', "lastUpdateDate": 12}\n',
            re.sub(r'"serialNumber": "\W*(\d+).*?"', r'"serialNumber": \1', text)[:-1] + ', "phone": true}\n',
            text.replace('"email"', '"e\\u006dail"')[:-1] + ', "shareWithPublicAsOfDate": {}}\n',
            "\n" + text[: text.index('"serialNumber"') + 20] + "\n",
            "\n" + text[: text.index('"email"') + 12] + "\n",
            '\n{"email": "ben@exa' + text + "\n",
            "\n" + text.replace('"email": ', '"email": "email": ') + "\n",
            "\n" + text.replace("@", "\\u0040").replace(".com", ".com\x02") + "\n",
        )
    )


def _addressed(rng: random.Random, person: str) -> str:
    name = rng.choice(("{}", "{}", "{}", "Ada Example <{}>", "<{}>", "mailto:{}", "MailTo: {}?subject=STEDI"))
    return _edged(rng, name.format(_spelled(rng, person)))


def _spelled(rng: random.Random, text: str) -> str:
    """Return another spelling of an e-mail or a serial number: in other letters, forms, widths, with blanks around."""
    spelled = rng.choice((text, text, text.upper(), text.title(), unicodedata.normalize("NFD", text)))
    if rng.random() < 0.1:
        spelled = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in spelled)
    place = rng.randint(0, len(spelled)) if rng.random() < 0.2 else 0
    return _edged(rng, spelled[:place] + rng.choice(_INVISIBLE) * (place > 0) + spelled[place:])


def _edged(rng: random.Random, text: str) -> str:
    return rng.choice(_BLANKS) + text + rng.choice(_BLANKS)
