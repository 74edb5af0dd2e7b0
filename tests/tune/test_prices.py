"""Overrides: what is named wrongly is told, what is named rightly counts."""

import pytest

from fastetl.errors import ConfigError
from fastetl.tune.prices import Book, read_book


def test_without_a_file_the_defaults_count():
    assert read_book(None) == Book()


def test_a_file_overrides_what_it_names(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text('architecture = "x86_64"\n[prices]\nredshift_rpu_hour = 0.45\n[constants]\nredshift_rpus = 4\n')
    book = read_book(path)
    assert (book.prices.redshift_rpu_hour, book.constants.redshift_rpus) == (0.45, 4)
    assert book.gb_second == Book().prices.lambda_gb_second_x86_64
    assert book.prices.s3_gb_month == Book().prices.s3_gb_month


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[prices]\nredshift_hour = 1", "redshift_hour"),
        ('[prices]\ns3_gb_month = "much"', "s3_gb_month"),
        ("[constants]\ndays_kept = -1", "constants.days_kept"),
        ("[prices", "prices.toml"),
    ],
)
def test_mistakes_are_named(tmp_path, text, named):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_book(path)
