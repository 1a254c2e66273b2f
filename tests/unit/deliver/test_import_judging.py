"""What a job's figures mean for the changes that travelled with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.deliver.imports.judging import (
    Job,
    JobStatus,
    Judgement,
    NextStep,
    excess,
    judge,
    read_job,
    read_job_id,
    shortfall,
)
from service.model.imports import Expected, ImportPart, PartState, Strategy


def part(
    strategy: Strategy = Strategy.UPDATE_ONLY,
    contacts: int = 10_000,
    joining: int = 10_000,
    missing: int = 0,
    refused: int = 0,
) -> ImportPart:
    return ImportPart(1, 1, PartState.RUNNING, strategy, "", "z", contacts, joining, missing, refused)


def job(total: int, **figures: int) -> Job:
    return read_job({"status": "Done", "result": {"totalRecords": total, "ignored": 0} | figures})


def judged(part: ImportPart, job: Job, *, creates: bool = True) -> Judgement:
    return judge(part, job, creates_contacts=creates)


def test_all_updated_is_settled():
    assert judged(part(), job(10_000, updated=10_000)) == Judgement(NextStep.SETTLE)


def test_unknown_contacts_are_created_where_the_account_wants_it():
    assert judged(part(), job(10_000, ignored=40)) == Judgement(NextStep.CREATE, missing=40)


def test_rows_refused_beside_unknown_contacts_are_not_forgotten():
    assert judged(part(), job(10_000, ignored=40, rejected=3)) == Judgement(NextStep.CREATE, missing=43, refused=3)
    insert = part(Strategy.INSERT_ONLY, missing=43)
    assert judged(insert, job(10_000, ignored=9_957, rejected=3)).step is NextStep.SEARCH
    assert judged(insert, job(10_000, ignored=9_957, rejected=3)).missing == 3
    assert judged(insert, job(10_000, ignored=9_957)).step is NextStep.SETTLE, "accepted the second time"


@pytest.mark.parametrize(("ignored", "step"), [(1, NextStep.SEARCH), (312, NextStep.SEARCH), (313, NextStep.RELEASE)])
def test_unknown_contacts_are_looked_for_where_none_are_created(ignored, step):
    judgement = judged(part(), job(10_000, ignored=ignored), creates=False)
    assert (judgement.step, judgement.missing) == (step, ignored)


def test_unknown_contacts_who_only_leave_are_settled_they_are_on_no_list():
    assert judged(part(joining=0), job(10_000, ignored=4_000), creates=False).step is NextStep.SETTLE


@pytest.mark.parametrize("figures", [{"rejected": 3}, {"error": 3}])
def test_refused_rows_are_looked_for(figures):
    assert judged(part(), job(10_000, **figures)).step is NextStep.SEARCH
    assert judged(part(contacts=90, joining=90), job(90, **figures)).step is NextStep.RELEASE


def test_rows_that_were_not_counted_are_looked_for():
    judgement = judged(part(), job(9_990))
    assert (judgement.step, judgement.missing) == (NextStep.SEARCH, 10)
    assert judgement.reason.startswith("Cordial refused or did not count 10 rows of 10,000")


def test_created_ones_and_those_updated_before_are_settled():
    insert = part(Strategy.INSERT_ONLY, contacts=100, joining=90, missing=40)
    # 40 unknown, of whom 8 only leave: 32 created, the other 58 who join exist.
    assert judged(insert, job(90, ignored=58)).step is NextStep.SETTLE
    # Not even those who leave explain this.
    short = judged(insert, job(90, ignored=65))
    assert (short.step, short.count_decides) == (NextStep.RELEASE, True)


def test_rows_that_the_first_job_refused_are_no_unknown_contacts_who_leave():
    """Of nine rows one was unknown and two were refused: one of these joins, one leaves. The second job creates nobody."""
    insert = part(Strategy.INSERT_ONLY, contacts=9, joining=7, missing=3, refused=2)
    judgement = judged(insert, job(7, ignored=7))
    assert (judgement.step, judgement.missing, judgement.count_decides) == (NextStep.RELEASE, 3, False)


def test_without_figures_only_the_lists_count_can_tell():
    judgement = judged(part(), read_job({"status": "Done"}))
    assert (judgement.step, judgement.count_decides) == (NextStep.RELEASE, True)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Done", JobStatus.DONE),
        ("Failed", JobStatus.FAILED),
        ("Throttled", JobStatus.RUNNING),
        ("Odd", JobStatus.RUNNING),
    ],
)
def test_a_status_nobody_knows_is_taken_for_running(said, status):
    assert read_job({"status": said}).status is status


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["status", "result", "jobId", "totalRecords", "completedItems", "message"]), inner
            )
        ),
    )
)
def test_no_answer_is_too_odd_to_be_read(body):
    read_job(body)
    read_job_id(body)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"jobId": "5f6b"}, ("5f6b", "")),
        ({"jobId": {"error": True, "message": "Can't connect to the server"}}, ("", "Can't connect to the server")),
        ({"jobId": {"error": True}}, ("", "it names no reason")),
        ({"jobId": {"errorKey": "GENERIC_ERROR_KEY"}}, ("", "GENERIC_ERROR_KEY")),
        ({"jobId": {"error": True, "message": "x" * 10_000}}, ("", "x" * 500)),
        ({"jobId": 17}, ("17", "")),
        ({"jobId": ["5f6b"]}, ("", "its answer names no job")),
        ({"jobId": True}, ("", "its answer names no job")),
        ({"jobId": "5" * 100_000}, ("", "its answer names no job")),
        ({}, ("", "its answer names no job")),
    ],
)
def test_an_error_may_stand_where_the_jobs_id_should(body, read):
    assert read_job_id(body) == read


def test_a_count_outside_of_what_must_be_is_told():
    leaving, joining = Expected(1, "7", 10, 12, 0, 3), Expected(1, "7", 10, 12, 2, 0)
    assert [shortfall(leaving, counted, "Active") for counted in (10, 13)] == ["", ""]
    assert shortfall(leaving, 9, "Active") == "Cordial counts 9 contacts on Active, where at least 10 must be"
    assert excess(leaving, 12, "Active") == ""
    assert excess(leaving, 13, "Active") == "Cordial counts 13 contacts on Active, where at most 12 may be"
    assert excess(joining, 13, "Active") == "", "nobody was to be taken off: others are there"


@given(
    contacts=st.integers(1, 5_000),
    data=st.data(),
    creates=st.booleans(),
    strategy=st.sampled_from(Strategy),
)
def test_a_job_is_settled_only_if_every_row_is_accounted_for(contacts, data, creates, strategy):
    joining = data.draw(st.integers(0, contacts))
    missing = data.draw(st.integers(0, contacts)) if strategy is Strategy.INSERT_ONLY else 0
    refused = data.draw(st.integers(0, min(missing, 3)))
    rows = contacts if strategy is Strategy.UPDATE_ONLY else joining
    total, ignored = data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))
    rejected = data.draw(st.integers(0, 3))
    judgement = judged(
        part(strategy, contacts, joining, missing, refused),
        job(total, ignored=ignored, rejected=rejected),
        creates=creates,
    )
    inserted = max(0, total - ignored - rejected)
    if judgement.step is NextStep.CREATE:
        assert judgement.missing == ignored + rejected + rows - total
    elif judgement.step is not NextStep.SETTLE:
        assert judgement.reason
        assert judgement.missing > 0
    elif strategy is Strategy.UPDATE_ONLY:
        assert (total, rejected, joining and ignored) == (rows, 0, 0)
    else:
        # Who only leaves is missing because Cordial does not know it, unless a row of either job was refused.
        is_whole = (total, rejected, refused) == (rows, 0, 0)
        assert inserted >= missing - (contacts - joining if is_whole else 0)
