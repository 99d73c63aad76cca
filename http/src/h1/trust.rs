//! Trust in the order of requests and responses after a loss, by the rules in the documentation of [`super`].

use super::Start;
use crate::{Reason, Side};

/// Number of turns (a request, its response, and only then the next request) by which a client that was never seen
/// without doubt is taken for one that does not pipeline.
const TURNS: u32 = 16;

/// State in which new requests cannot be paired.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Largest number of responses that may come, after those of the waiting requests, to requests that do not wait; none
    /// if unknown.
    stale: Option<u64>,
    /// Number of responses that may come to requests that are counted.
    owed: u64,
    /// The connection began with it: requests passed unseen, and each is counted when its response comes.
    began: bool,
    reason: Reason,
}

impl Doubt {
    /// No response is stale, and no request was hidden.
    fn none(reason: Reason) -> Self {
        Self { stale: Some(0), owed: 0, began: false, reason }
    }
}

/// Facts about a client by which requests are paired after a loss.
#[derive(Debug)]
pub(super) struct Trust {
    doubt: Option<Doubt>,
    /// The client certainly sent a request before the response to an earlier one began.
    pipelines: bool,
    /// The client was seen to wait for a response before the next request.
    waits: bool,
    /// Turns in a row.
    turns: u32,
    /// A response has ended since the last request began.
    answered: bool,
    /// A request began and nothing has passed the other way since.
    unanswered: bool,
    /// Two requests began and nothing seems to have passed the other way between them: certain if no loss shows there.
    suspected: bool,
}

impl Trust {
    /// Facts about a client of which nothing was seen.
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

    /// Tells whether the next request can be paired for sure.
    pub(super) fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Takes a request that begins while requests wait, or a response is passing. Fails with the reason if the request is
    /// in doubt: its response is stale when it comes.
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

    /// Takes a response, or an interim one, that begins in order.
    pub(super) fn response(&mut self) {
        self.pipelines |= std::mem::take(&mut self.suspected);
        self.unanswered = false;
    }

    /// Takes the certainty that a request was sent before the response to an earlier one began.
    pub(super) fn pipelined(&mut self) {
        self.pipelines = true;
    }

    /// Takes a response that belongs to no waiting request. Returns the reason why its request is unobserved, if that has
    /// to be counted now because the request passed unseen.
    pub(super) fn ignored(&mut self) -> Option<Reason> {
        let doubt = self.doubt.as_mut()?;
        doubt.stale = doubt.stale.map(|stale| stale.saturating_sub(1));
        if doubt.owed > 0 {
            doubt.owed -= 1;
            return None;
        }
        doubt.began.then_some(doubt.reason)
    }

    /// Takes the end of a response.
    pub(super) fn response_end(&mut self) {
        self.answered = true;
    }

    /// Takes a loss of responses, up to `stale` of which may still come to requests that do not wait any more.
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

    /// Takes a loss of requests, whose number is unknown.
    pub(super) fn requests_lost(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: None, ..Doubt::none(reason) });
    }

    /// Takes a request that does not wait, though its response will come.
    pub(super) fn request_refused(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: Some(1), ..Doubt::none(reason) });
    }
}
