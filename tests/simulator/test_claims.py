"""Claims and tokens, played at random against a model a few lines long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cutover.model.effects import Claim
from tests.simulator.base import Engine, fleet, simulate

OWNERS = ("ann", "bob", "cyd")

moves = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.sampled_from(OWNERS), st.just(0)),
        st.tuples(st.sampled_from(("take", "release", "act")), st.sampled_from(OWNERS), st.integers(0, 5)),
        st.tuples(st.just("show"), st.sampled_from(OWNERS), st.just(0)),
    ),
    max_size=20,
)


class Model:
    """Who may act, by the rules on the design's page."""

    token, owner = 1, "me"

    def move(self, verb, owner, token):
        """The code of the refusal, or nothing."""
        match verb:
            case "claim" if self.owner not in (None, owner):
                return "owned"
            case "claim" if self.owner is None:
                self.token, self.owner = self.token + 1, owner
            case "take" if token != self.token + 1:
                return "token"
            case "take":
                self.token, self.owner = token, owner
            case "release" | "act" if (token, owner) != (self.token, self.owner):
                return "token"
            case "release":
                self.owner = None
        return ""


@given(moves)
def test_claims_follow_the_rules(moves):
    async def story(engine: Engine):
        model = Model()
        for number, (verb, owner, token) in enumerate(moves):
            engine.owner = owner
            if verb == "act":
                reply = await engine.act(f"a{number}", "true", claim=Claim(owner, token))
            else:
                reply = await engine.claim(verb, token=token)
            assert reply.code == model.move(verb, owner, token)
            assert (reply.outcome == "refused") == bool(reply.code)
            if verb != "act" or reply.code:
                assert (reply.token, reply.owner) == (model.token, model.owner)

    world = fleet()
    simulate(world, story)


@given(st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(0, 3)), min_size=2, max_size=10))
def test_an_owner_that_was_taken_over_never_acts_again(takers):
    async def story(engine: Engine):
        held = [Claim("me", 1)]
        for number, (owner, late) in enumerate(takers):
            engine.owner = f"{owner}{number}"
            taken = await engine.claim("take", token=held[-1].token + 1)
            assert taken.ok
            held.append(Claim(engine.owner, taken.token or 0))
            for claim in held[:-1][-late - 1 :]:
                assert (await engine.act(f"a{number}.{claim.token}", "true", claim=claim)).code == "token"
            assert (await engine.act(f"b{number}", "true", claim=held[-1])).ok

    simulate(fleet(), story)
