//! Writing of pprof files.

use std::{collections::HashMap, hash::Hash, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;

use super::{
    COVERAGE, JIT, KERNEL, WHAT,
    labels::{CONTAINER, PID, POD, PROCESS, STACK, THREAD, WAY, known_name},
    message::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType},
};
use crate::{
    Frame, FrameKind, Graph, Row,
    folded::{root_frames, way},
};

/// Fraction of the allowed size that the next attempt aims at if a profile was too large: nine tenths.
const AIM: (usize, usize) = (9, 10);

/// A profile could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Even the sums alone exceed the allowed size.
    #[error(
        "a profile of {least} bytes is the smallest that can be made of this one, and {max} bytes are allowed"
    )]
    NoRoom {
        /// Size of the smallest possible profile, in bytes.
        least: usize,
        /// Allowed size, in bytes.
        max: usize,
    },
    /// Compressing failed.
    #[error("cannot compress the profile: {0}")]
    Compress(#[from] std::io::Error),
}

impl Graph {
    /// Encodes the profile as pprof, compressed by gzip.
    ///
    /// # Errors
    ///
    /// [`WriteError::Compress`] if compressing fails.
    pub fn pprof(&self) -> Result<Vec<u8>, WriteError> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&Tables::message(self).encode_to_vec())?;
        Ok(gzip.finish()?)
    }

    /// Encodes the profile as pprof in at most `max` bytes. The smallest stacks are folded into `[other stacks]` of their
    /// process and, if that is not enough, the smallest processes into `[other processes]`. The sums do not change.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if even the sums alone take more than `max` bytes, or compressing fails.
    pub fn pprof_within(&self, max: usize) -> Result<Vec<u8>, WriteError> {
        let fewer = |kept: usize, size: usize| {
            let aim = kept as u128 * max as u128 / size.max(1) as u128;
            // The cast is safe: `size` exceeds `max`, so the result is at most `kept`.
            (aim * AIM.0 as u128 / AIM.1 as u128).min(kept as u128 / 2 + kept as u128 / 4) as usize
        };
        let mut whole = self.pprof()?;
        let (mut stacks, mut processes) = (self.rows().len(), self.rows().len());
        while whole.len() > max {
            if stacks > 0 {
                stacks = fewer(stacks, whole.len());
            } else if processes > 0 {
                processes = fewer(processes, whole.len());
            } else {
                return Err(WriteError::NoRoom { least: whole.len(), max });
            }
            whole = self.folded_to(stacks, processes).pprof()?;
        }
        Ok(whole)
    }
}

/// A location in pprof's sense: a frame that identifies a stack's owner, or a function.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    Note(String),
    Function(&'a Frame),
}

/// Ids of files, functions or locations, from 1 in the order of their first use.
#[derive(Debug)]
struct Numbers<T>(HashMap<T, u64>);

impl<T: Eq + Hash> Numbers<T> {
    /// Returns the id of a key, and true if the key is new.
    fn of(&mut self, thing: T) -> (u64, bool) {
        let next = self.0.len() as u64 + 1;
        let number = *self.0.entry(thing).or_insert(next);
        (number, number == next)
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// The message that is being built.
#[derive(Debug)]
struct Tables<'a> {
    profile: Profile,
    texts: HashMap<String, i64>,
    files: Numbers<String>,
    functions: Numbers<String>,
    places: Numbers<Place<'a>>,
}

impl<'a> Tables<'a> {
    fn message(graph: &'a Graph) -> Profile {
        let mut tables = Self {
            // By pprof's definition, the first text is empty.
            profile: Profile { string_table: vec![String::new()], ..Profile::default() },
            texts: HashMap::from([(String::new(), 0)]),
            files: Numbers::default(),
            functions: Numbers::default(),
            places: Numbers::default(),
        };
        // Bytes come last, since some viewers ignore the default type and show the last one.
        tables.profile.sample_type = [("calls", "count"), ("bytes", "bytes")]
            .map(|(kind, unit)| ValueType { kind: tables.text(kind), unit: tables.text(unit) })
            .to_vec();
        tables.profile.default_sample_type = tables.text("bytes");
        tables.profile.time_nanos = graph.about.began;
        tables.profile.duration_nanos = graph.about.lasted;
        // Similar stacks stand side by side, since some viewers keep the order of stacks and merge equal neighbouring
        // frames.
        let mut rows: Vec<&Row> = graph.rows().iter().collect();
        rows.sort_by(|one, two| one.key.compare(&two.key));
        for row in rows {
            let sample = tables.sample(row);
            tables.profile.sample.push(sample);
        }
        tables.comments(graph);
        tables.profile
    }

    fn comments(&mut self, graph: &Graph) {
        // Serialising a map of texts and numbers cannot fail.
        let coverage = serde_json::to_string(&graph.coverage).unwrap_or_default();
        let lines = [format!("{WHAT}{}", graph.about.what), format!("{COVERAGE}{coverage}")];
        for line in lines.into_iter().chain(graph.coverage.sentences()) {
            let text = self.text(&line);
            self.profile.comment.push(text);
        }
    }

    fn sample(&mut self, row: &'a Row) -> Sample {
        let key = &row.key;
        let notes = root_frames(row).chain(key.known.frame().map(Into::into)).map(Place::Note);
        let functions = key.frames.iter().map(|frame| Place::Function(frame));
        let mut location_id: Vec<u64> = notes.chain(functions).map(|place| self.place(place)).collect();
        location_id.reverse();
        let pid = key.process.pid.to_string();
        let process = &key.process;
        let known = known_name(&key.known);
        let label = [
            (WAY, way(key.way)),
            (POD, &process.pod),
            (CONTAINER, &process.container),
            (PROCESS, &process.command),
            (PID, &pid),
            (THREAD, &key.thread),
            (STACK, &known),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| Label { key: self.text(key), str: self.text(value) })
        .collect();
        // The sums of a graph are at most i64::MAX, so the casts are safe.
        Sample { location_id, value: vec![row.calls as i64, row.bytes as i64], label }
    }

    fn place(&mut self, place: Place<'a>) -> u64 {
        let (name, file) = match &place {
            Place::Note(name) => (name.clone(), None),
            Place::Function(frame) => (frame.name.clone(), Some(file_of(frame))),
        };
        let (id, new) = self.places.of(place);
        if new {
            let mapping_id = file.map_or(0, |file| self.file(file));
            let function_id = self.function(&name);
            self.profile.location.push(Location { id, mapping_id, line: vec![Line { function_id }] });
        }
        id
    }

    fn file(&mut self, file: String) -> u64 {
        let filename = self.text(&file);
        let (id, new) = self.files.of(file);
        if new {
            // The flag tells viewers that all functions are named already.
            self.profile.mapping.push(Mapping { id, filename, has_functions: true });
        }
        id
    }

    fn function(&mut self, name: &str) -> u64 {
        let (id, new) = self.functions.of(name.to_owned());
        if new {
            let name = self.text(name);
            self.profile.function.push(Function { id, name, system_name: name });
        }
        id
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), number);
        number
    }
}

fn file_of(frame: &Frame) -> String {
    let with = |kind: &str| match frame.module.as_str() {
        "" => kind.to_owned(),
        module => format!("{kind} {module}"),
    };
    match frame.kind {
        FrameKind::User => frame.module.clone(),
        FrameKind::Jit => with(JIT),
        FrameKind::Kernel => with(KERNEL),
    }
}
