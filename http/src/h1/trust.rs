//! Trust in the order of requests and responses after a loss, by the rules in the documentation of [`super`], which
//! also defines waiting requests, doubt and stale responses.

use super::Start;
use crate::{Reason, Side};

/// Number of turns in a row after which a client counts as one that waits for responses, even if it was only seen in
/// doubt. A turn is a request, its response, and only then the next request.
const TURNS: u32 = 16;

/// The state in which new requests cannot be paired with certainty.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Maximum number of stale responses that may still come after those of the waiting requests; `None` if unknown.
    stale: Option<u64>,
    /// Number of responses that may still come for requests that are already counted as unobserved. Such a response is
    /// ignored and not counted again.
    owed: u64,
    /// True if requests had passed unseen before the first piece: each is counted when its response comes.
    began: bool,
    reason: Reason,
}

impl Doubt {
    /// Returns a doubt with no stale response, for callers that set the fields which differ.
    fn none(reason: Reason) -> Self {
        Self { stale: Some(0), owed: 0, began: false, reason }
    }
}

/// The facts about a client that decide whether a request can be paired after a loss.
#[derive(Debug)]
pub(super) struct Trust {
    doubt: Option<Doubt>,
    /// True if the client certainly sent a request before the response to an earlier one began.
    pipelines: bool,
    /// True if the client was seen to wait for a response before it sent the next request.
    waits: bool,
    /// Number of turns in a row (see [`TURNS`]).
    turns: u32,
    /// True if a response has ended since the last request began.
    answered: bool,
    /// True if the last request began while no response was being received, and no response has begun since.
    unanswered: bool,
    /// True if two requests began and no response seems to have begun between them. The next response confirms that the
    /// client pipelines, unless a loss of responses is noticed first.
    suspected: bool,
}

impl Trust {
    /// Returns the facts about a client of which nothing was seen yet.
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

    /// Returns whether the next request can be paired with certainty: there is no doubt.
    pub(super) fn is_sure(&self) -> bool {
        self.doubt.is_none()
    }

    /// Records that a request begins. `waiting` is true if earlier requests wait, and `responding` if a response is
    /// being received. Returns the reason of the doubt as an error if the request is in doubt; its response will be
    /// stale then.
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

    /// Records that a response (also an interim one) begins, without a loss before it.
    pub(super) fn response(&mut self) {
        self.pipelines |= std::mem::take(&mut self.suspected);
        self.unanswered = false;
    }

    /// Records that a request was certainly sent before the response to an earlier one began.
    pub(super) fn pipelined(&mut self) {
        self.pipelines = true;
    }

    /// Records a response that belongs to no waiting request. If its request passed unseen and must be counted now,
    /// returns the reason why that request is unobserved.
    pub(super) fn ignored(&mut self) -> Option<Reason> {
        let doubt = self.doubt.as_mut()?;
        doubt.stale = doubt.stale.map(|stale| stale.saturating_sub(1));
        if doubt.owed > 0 {
            doubt.owed -= 1;
            return None;
        }
        doubt.began.then_some(doubt.reason)
    }

    /// Records the end of a response.
    pub(super) fn response_end(&mut self) {
        self.answered = true;
    }

    /// Records a loss of responses: up to `stale` more may come for requests that no longer wait.
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

    /// Records a loss of an unknown number of requests.
    pub(super) fn requests_lost(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: None, ..Doubt::none(reason) });
    }

    /// Records a request that is not put into the queue of waiting requests, although its response will come.
    pub(super) fn request_refused(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: Some(1), ..Doubt::none(reason) });
    }
}
