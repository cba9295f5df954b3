"""`python -m stedi_assets.sample_data` writes a sample."""

import argparse
import re
import sys
from collections.abc import Sequence

from stedi_assets.sample_data.broken_kinds import BROKEN_KINDS
from stedi_assets.sample_data.options import Amount, SampleOptions, SampleRefused
from stedi_assets.sample_data.writing import deliver_sample, write_sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a sample as the command line says. Return 2 when it is refused, after one line on what to change."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    lake, truth, every = given.pop("lake"), given.pop("truth"), given.pop("every")
    options = SampleOptions(**given | {"broken": dict(given["broken"])})
    try:
        if every is not None:
            for path in deliver_sample(lake, every, options, truth):
                print(path, flush=True)
            return 0
        summary = write_sample(lake, options, truth)
    except KeyboardInterrupt:
        return 0
    except SampleRefused as refused:
        print(f"{parser.prog}: {refused}", file=sys.stderr)
        return 2
    print(f"{summary.customers:,} customers, {summary.consenting:,} of them consent by their latest record")
    for name, source in summary.sources.items():
        print(f"{name}: {source.files:,} files, {source.accepted:,} good records, {source.quarantined:,} broken ones")
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = SampleOptions()
    parser = argparse.ArgumentParser(
        prog="python -m stedi_assets.sample_data",
        description="Write invented landing files like those of the three sources, and the truth about them.",
        epilog="AMOUNT is a number of times (3) or a share (0.03 or 3%). Kinds of --broken: "
        + ", ".join(["all", *BROKEN_KINDS]),
    )
    parser.add_argument("lake", metavar="LAKE", help="local folder of the lake; created if it does not exist")
    parser.add_argument("--customers", type=int, default=defaults.customers, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=defaults.seed, metavar="N", help="default: %(default)s")
    for name, what in (
        ("readings_per_phone", "of each customer"),
        ("readings_per_device", "of each customer"),
        ("records_per_file", "the most that a file holds"),
        ("serials_shared_by", "customers who hold the same serial number"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=getattr(defaults, name),
            metavar="N",
            help=f"{what}; default: %(default)s",
        )
    for option, what in (
        ("--repeated-emails", "customers with an older record too, the e-mail in other letter case or with blanks"),
        ("--withdrawals", "consenting customers with a later record that does not consent"),
        ("--respelled-keys", "customers whose phone writes timeStamp for timestamp"),
        ("--late-deliveries", "customers whose records come in a sub-folder, with an older modification time"),
        ("--repeated-deliveries", "files of each source that are delivered again under another name"),
    ):
        parser.add_argument(option, type=_amount, default=0, metavar="AMOUNT", help=what)
    parser.add_argument(
        "--broken",
        type=_broken_amount,
        action="append",
        default=[],
        metavar="KIND=AMOUNT",
        help="broken deliveries in each source; may be given several times",
    )
    parser.add_argument("--gzip", action="store_true", help="pack the files")
    parser.add_argument(
        "--every",
        type=_seconds,
        metavar="5s",
        help="have the files arrive one after the other, with this pause between them",
    )
    parser.add_argument("--truth", metavar="FOLDER", help="where to write the truth, outside of the lake")
    return parser


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?s?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 5s or 0.5s")
    return float(text.removesuffix("s"))


def _amount(text: str) -> Amount:
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number of times (3) nor a share (0.03 or 3%)"
        ) from None


def _broken_amount(text: str) -> tuple[str, Amount]:
    kind, _, amount = text.partition("=")
    return kind, _amount(amount)


if __name__ == "__main__":
    sys.exit(main())
