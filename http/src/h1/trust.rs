//! Trust in the order of requests and responses after a loss, by the rules in the documentation of [`super`].

use super::Start;
use crate::{Reason, Side};

/// Number of turns (a request, its response, and only then the next request) after which a client counts as one that
/// does not pipeline, even if it was never certainly seen to wait.
const TURNS: u32 = 16;

/// A state in which new requests cannot be paired.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Maximum number of responses, after those of the waiting requests, that may still come for requests that no
    /// longer wait; `None` if unknown.
    stale: Option<u64>,
    /// Number of responses that may still come for requests that are already counted as unobserved.
    owed: u64,
    /// True if the connection began in doubt: requests passed unseen, and each is counted when its response comes.
    began: bool,
    reason: Reason,
}

impl Doubt {
    /// Returns a doubt with no stale response and no hidden request.
    fn none(reason: Reason) -> Self {
        Self { stale: Some(0), owed: 0, began: false, reason }
    }
}

/// The facts about a client that decide how requests are paired after a loss.
#[derive(Debug)]
pub(super) struct Trust {
    doubt: Option<Doubt>,
    /// True if the client certainly sent a request before the response to an earlier one began.
    pipelines: bool,
    /// True if the client was seen to wait for a response before it sent the next request.
    waits: bool,
    /// Number of turns in a row.
    turns: u32,
    /// True if a response has ended since the last request began.
    answered: bool,
    /// True if a request began and nothing has passed the other way since.
    unanswered: bool,
    /// True if two requests began and nothing seems to have passed the other way between them; certain unless a loss
    /// becomes visible there.
    suspected: bool,
}

impl Trust {
    /// Returns the facts about a client of which nothing was seen.
    pub(super) fn new(side: Side, start: Start) -> Self {
        let doubt = match start {
            Start::Lost => Some(Doubt { stale: None, ..Doubt::none(Reason::LostResponse) }),
            Start::Unanswered if side == Side::Server => {
                Some(Doubt { stale: Some(1), began: true, ..Doubt::none(Reason::MissingBytes) })
            }
            Start::Whole | Start::Joined | Start::Unanswered => None,
        };
        Self {
            doubt,
            pipelines: false,
            waits: false,
            turns: 0,
            answered: false,
            unanswered: false,
            suspected: false,
        }
    }

    /// Returns whether the next request can be paired with certainty.
    pub(super) fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Notes a request that begins; `waiting` and `responding` tell whether requests wait and a response is being
    /// received. Returns the reason as an error if the request is in doubt: its response will be stale.
    pub(super) fn request(&mut self, waiting: bool, responding: bool) -> Result<(), Reason> {
        let idle = !waiting && !responding;
        if idle && self.answered {
            self.turns = self.turns.saturating_add(1);
            self.waits |= self.doubt.is_none() || self.turns >= TURNS;
        } else {
            self.turns = 0;
        }
        self.answered = false;
        self.suspected |= self.unanswered;
        self.unanswered = !responding;
        let Some(doubt) = &mut self.doubt else { return Ok(()) };
        let sure = doubt.stale == Some(0);
        if !waiting && (sure || self.waits && !self.pipelines) {
            self.doubt = None;
            return Ok(());
        }
        doubt.stale = doubt.stale.map(|stale| stale.saturating_add(1));
        doubt.owed = doubt.owed.saturating_add(1);
        Err(doubt.reason)
    }

    /// Notes that a response, or an interim one, begins in order.
    pub(super) fn response(&mut self) {
        self.pipelines |= std::mem::take(&mut self.suspected);
        self.unanswered = false;
    }

    /// Notes that a request was certainly sent before the response to an earlier one began.
    pub(super) fn pipelined(&mut self) {
        self.pipelines = true;
    }

    /// Notes a response that belongs to no waiting request. Returns the reason why its request is unobserved, if that
    /// request must be counted now because it passed unseen.
    pub(super) fn ignored(&mut self) -> Option<Reason> {
        let doubt = self.doubt.as_mut()?;
        doubt.stale = doubt.stale.map(|stale| stale.saturating_sub(1));
        if doubt.owed > 0 {
            doubt.owed -= 1;
            return None;
        }
        doubt.began.then_some(doubt.reason)
    }

    /// Notes the end of a response.
    pub(super) fn response_end(&mut self) {
        self.answered = true;
    }

    /// Notes a loss of responses: up to `stale` more may come for requests that no longer wait.
    pub(super) fn responses_lost(&mut self, stale: u64, reason: Reason) {
        self.unanswered = false;
        self.suspected = false;
        if stale > 0 {
            let before = self.doubt.unwrap_or(Doubt::none(reason));
            let sum = |before: u64| before.saturating_add(stale);
            let (stale, owed) = (before.stale.map(sum), sum(before.owed));
            self.doubt = Some(Doubt { stale, owed, reason, ..before });
        }
    }

    /// Notes a loss of an unknown number of requests.
    pub(super) fn requests_lost(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: None, ..Doubt::none(reason) });
    }

    /// Notes a request that does not wait, although its response will come.
    pub(super) fn request_refused(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: Some(1), ..Doubt::none(reason) });
    }
}
