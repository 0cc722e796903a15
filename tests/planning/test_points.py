"""Points of no return, and the way back from every position."""

from cutover.planning.points import points_of, way_back, ways_back
from tests.planning.toys import planned

STEPS = """
  - go: {question: {text: "Go?"}}
  - stop: {units: {on: old.web, stop: [web]}}
  - log: {do: {on: alice}, no_way_back: it is a log}
  - data: {over: {point: soft}}
  - start: {units: {on: new.web, start: [web]}}
  - users: {over: {point: hard}}
  - clean: {do: {on: alice}}
"""


def test_where_the_points_are() -> None:
    points = points_of(planned(STEPS))
    assert (points.soft, points.hard) == ("data", "users")


def test_a_hard_point_alone_is_the_soft_one_too() -> None:
    points = points_of(planned("  - users: {over: {point: hard}}\n"))
    assert (points.soft, points.hard) == ("users", "users")
    points = points_of(planned("  - go: {question: {text: a}}\n"))
    assert (points.soft, points.hard) == (None, None)


def test_the_way_back_from_every_position() -> None:
    said = {name: str(way) for name, way in ways_back(planned(STEPS))}
    assert said == {
        "go": "nothing to take back",
        "stop": "lossless; take back stop; about 2s",
        "log": "lossless; take back stop, leave log as it is; about 2s",
        "data": "lossless only while nobody but the engine has written on the new side since data; "
        "take back stop, leave log as it is; about 2s",
        "start": "lossless only while nobody but the engine has written on the new side since data; "
        "take back start, stop, leave log as it is; about 4s",
        "users": "closed: users was the hard point of no return; back means a second cutover the other way",
        "clean": "closed: users was the hard point of no return; back means a second cutover the other way",
    }


def test_it_is_the_same_way_from_a_set_of_steps() -> None:
    plan = planned(STEPS)
    done: set[str] = set()
    for name, way in ways_back(plan):
        done.add(name)
        assert way_back(plan, done) == way
    assert not way.lossless


def test_acts_are_taken_back_in_reverse_order() -> None:
    way = way_back(planned(STEPS), {"stop", "start"})
    assert [back.step for back in way.steps] == ["start", "stop"]
    assert [act.title for act in way.steps[0].undo] == ["stop web on fritz", "stop web on freud"]


def test_what_is_measured_counts() -> None:
    assert way_back(planned(STEPS), {"stop", "start"}, {"stop": 30.0}).seconds == 32.0


def test_either_of_two_hard_points_closes_it() -> None:
    plan = planned("""
  - a: {question: {text: "?"}}
  - one: {over: {point: hard}, needs: a}
  - two: {over: {point: hard}, needs: a}
""")
    assert way_back(plan, {"a", "two"}).closed is not None
    assert way_back(plan, {"a"}).lossless
