//! Trust in the order of requests and responses after a loss, by the rules in the documentation of [`super`].

use crate::Reason;

/// Number of turns (a request, its response, and only then the next request) by which a client that was never seen
/// without doubt is taken for one that does not pipeline.
const TURNS: u32 = 16;

/// State in which new requests cannot be paired.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// Largest number of responses that may come, after those of the waiting requests, to requests that do not wait; none
    /// if unknown.
    stale: Option<u64>,
    reason: Reason,
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
    /// Facts about a client of which nothing was seen. `lost` says that its first requests may have been lost.
    pub(super) fn new(lost: bool) -> Self {
        Self {
            doubt: lost.then_some(Doubt { stale: None, reason: Reason::LostResponse }),
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

    /// Takes a response that belongs to no waiting request.
    pub(super) fn ignored(&mut self) {
        if let Some(Doubt { stale: Some(stale), .. }) = &mut self.doubt {
            *stale = stale.saturating_sub(1);
        }
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
            let before = self.doubt.map_or(Some(0), |doubt| doubt.stale);
            self.doubt = Some(Doubt { stale: before.map(|before| before.saturating_add(stale)), reason });
        }
    }

    /// Takes a loss of requests, whose number is unknown.
    pub(super) fn requests_lost(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: None, reason });
    }

    /// Takes a request that does not wait, though its response will come.
    pub(super) fn request_refused(&mut self, reason: Reason) {
        self.doubt = Some(Doubt { stale: Some(1), reason });
    }
}
