//! Connections that use TLS: their plain text, their processes, and their ends.

use hashbrown::HashMap;
use traffictrace_ebpf::layout::{
    http::{FIN, RESET, Record},
    tls::Origin,
};
use traffictrace_http::{Beginning, Connection, Start, Way};

use super::{
    super::{
        booking::Books,
        plain::{Skip, Text, Tls},
    },
    Connections, Followed, MOST_MEMORY, now,
};

impl Connections {
    /// Processes a record of plain text. `probed` returns the time when the probes of a process were attached, in
    /// nanoseconds of the monotonic clock.
    pub(in super::super) fn take_plain(
        &mut self,
        record: &Record<'_>,
        origin: Origin,
        books: &mut Books<'_, '_>,
        probed: &dyn Fn(u32) -> Option<u64>,
    ) {
        let text = Text::of(record);
        let speaks_tls = self.followed.get(&record.cookie).is_some_and(|followed| followed.tls.is_some());
        if record.cookie == 0 || !speaks_tls {
            return self.waiting.keep(origin, record.cookie, now(), text);
        }
        for text in self.waiting.take(origin).into_iter().chain([text]) {
            self.feed(record.cookie, origin, &text, books, probed);
        }
    }

    fn feed(
        &mut self,
        cookie: u64,
        origin: Origin,
        text: &Text,
        books: &mut Books<'_, '_>,
        probed: &dyn Fn(u32) -> Option<u64>,
    ) {
        let Some(followed) = self.followed.get_mut(&cookie) else { return };
        let mut sink = followed.booking(cookie, books);
        let Followed { connection, tls: Some(tls), .. } = followed else { return };
        let is_first = !tls.is_read();
        if !tls.belongs_to(origin) {
            connection.close(connection.idle_since(), true, &mut sink);
            return;
        }
        if is_first {
            // If the connection is younger than the probes, the probes see all of its plain text.
            let whole = followed.began.zip(probed(origin.pid)).is_some_and(|(began, probed)| probed < began);
            let first = [whole.then_some(0); 2];
            let start = if whole { Start::Whole } else { Start::Joined };
            *connection = Connection::begin(Beginning { start, first });
            if !whole {
                tls.join();
            }
        }
        if tls.passes_over(text) {
            return;
        }
        let skip = tls.feed(connection, text, &mut sink);
        self.skips.extend(skip.map(|skip| (cookie, skip)));
        let memory = connection.memory();
        self.memory = self.memory + memory - std::mem::replace(&mut followed.memory, memory);
        if self.memory > MOST_MEMORY {
            connection.close(connection.idle_since(), true, &mut sink);
            self.memory -= std::mem::replace(&mut followed.memory, connection.memory());
            self.memory += followed.memory;
        }
    }

    /// Marks a socket as using TLS. From now on its packets only show its end. Its plain text may have arrived already,
    /// and waits.
    pub(super) fn begin_tls(&mut self, cookie: u64) {
        let Some(followed) = self.followed.get_mut(&cookie) else { return };
        if followed.tls.is_some() {
            return;
        }
        followed.tls = Some(Box::new(Tls::begin(self.texts_lost[0])));
        self.memory -= std::mem::take(&mut followed.memory);
        followed.connection = Connection::begin(Beginning::default());
        self.strangers.push(cookie);
    }

    /// Records that a FIN or RST of a TLS connection was seen. Plain text from before it may still arrive by the other
    /// ring buffer, so [`Self::end_tls`] ends the direction later.
    pub(super) fn note_end(&mut self, record: &Record<'_>, way: Way) {
        let Some(followed) = self.followed.get_mut(&record.cookie) else { return };
        if record.flags & RESET != 0 {
            followed.ended = [true; 2];
        } else if record.flags & FIN != 0 {
            followed.ended[way.index()] = true;
        }
        if record.flags & (FIN | RESET) != 0 {
            self.ending[0].push(record.cookie);
        }
    }

    /// Returns the parts of plain text that the kernel need not copy, with the cookies of their sockets. Each is
    /// returned once.
    pub(in super::super) fn take_skips(&mut self) -> Vec<(u64, Skip)> {
        std::mem::take(&mut self.skips)
    }

    /// Feeds the plain text that waited until its socket was known to use TLS.
    pub(super) fn feed_waiting(&mut self, books: &mut Books<'_, '_>, probed: &dyn Fn(u32) -> Option<u64>) {
        for cookie in self.strangers.clone() {
            let Some(origin) = self.waiting.channel_of(cookie) else { continue };
            for text in self.waiting.take(origin) {
                self.feed(cookie, origin, &text, books, probed);
            }
        }
    }

    /// Returns the ids of processes newly found to use TLS: those of TLS sockets whose process was unknown
    /// (`strangers`) and whose slot has a process by now.
    pub(super) fn find_speakers(&mut self, books: &mut Books<'_, '_>) -> Vec<u32> {
        let mut found = Vec::new();
        let followed = &mut self.followed;
        self.strangers.retain(|cookie| {
            let Some(followed) = followed.get_mut(cookie) else { return false };
            let mut booking = followed.booking(*cookie, books);
            booking.tls = false;
            let pid = booking.speaks_tls();
            if let (Some(pid), Some(tls)) = (pid, &mut followed.tls) {
                tls.pid = pid;
                found.push(pid);
            }
            pid.is_none()
        });
        found
    }

    /// Ends directions of TLS connections at the second call after their FIN or RST was seen: by then their plain text
    /// has been read. A process reads received data later than the FIN arrives, so a received direction ends only once
    /// the sent direction has ended, too.
    pub(super) fn end_tls(&mut self, books: &mut Books<'_, '_>) {
        let [now, before] = &mut self.ending;
        let over = std::mem::replace(before, std::mem::take(now));
        for cookie in over {
            let Some(followed) = self.followed.get_mut(&cookie) else { continue };
            if followed.ended == [true; 2] {
                followed.close(cookie, false, self.texts_lost[1], books);
                self.remove(cookie);
            } else if followed.ended[Way::Sent.index()] {
                let mut sink = followed.booking(cookie, books);
                if let Some(tls) = &followed.tls {
                    tls.end_way(Way::Sent, &mut followed.connection, self.texts_lost[1], &mut sink);
                }
            }
        }
    }

    /// Number of open connections of each process whose plain text arrived but could not be understood so far.
    pub(in super::super) fn unread(&self) -> HashMap<u32, u64> {
        let mut unread = HashMap::new();
        for Followed { connection, tls, .. } in self.followed.values() {
            if let Some(tls) =
                tls.as_ref().filter(|tls| tls.pid != 0 && tls.is_read() && tls.is_unread(connection))
            {
                *unread.entry(tls.pid).or_default() += 1;
            }
        }
        unread
    }

    /// Number of a process's connections whose plain text arrived and whose sockets were not found.
    pub(in super::super) fn unplaced(&self, pid: u32) -> u64 {
        self.waiting.given_up(pid)
    }
}
