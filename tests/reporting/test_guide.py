"""The guide to averages: its calls exist, the page shows all of it, and it can be searched."""

from operator import attrgetter
from pathlib import Path

import pytest

import meanfluid as mf

PAGE = Path(__file__).parents[2] / "docs" / "which_average.md"


def test_every_call_is_a_public_name():
    for choice in mf.which_average():
        assert attrgetter(choice.call)(mf) is not None


def test_the_page_shows_the_whole_table():
    assert str(mf.which_average()) in PAGE.read_text()


def test_labels_are_those_of_the_doors():
    known = {"initial", "final", "mean", "none"}
    assert all(choice.label.split()[0].strip(",") in known for choice in mf.which_average())


def test_words_narrow_it_down_in_any_case():
    found = mf.which_average("MeanFlow noise")
    assert [choice.label for choice in found] == ["final"]
    assert set(mf.which_average("tracer")) < set(mf.which_average())


def test_a_topic_that_no_row_knows_is_refused():
    with pytest.raises(ValueError, match=r"no question has all of the words \['enstrophy'\]"):
        mf.which_average("enstrophy")
