//! Reading of pprof files that this crate has written. Files are untrusted.

use std::{collections::HashMap, io::Read as _, str, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use prost::{DecodeError, Message};

use super::{
    COVERAGE, JIT, KERNEL, WHAT,
    labels::{Labels, Owner, known_name},
    message::{Function, Location, Mapping, Sample, ValueType},
    room::{
        MAX_COMMENTS, MAX_DEPTH, MAX_ENTRIES, MAX_LABELS, MAX_MESSAGE, MAX_SIZE, MAX_TEXT, OneRoom, Room,
    },
};
use crate::{About, Coverage, Frame, FrameKind, Graph, Process, Row, RowKey, TooMuch};

/// A profile could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text is not base64, the encoding of profiles in API objects.
    #[error("it is no base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The data is not compressed by gzip, or is damaged.
    #[error("it is no pprof profile compressed by gzip: {0}")]
    Gzip(std::io::Error),
    /// The profile exceeds a limit that no profile of ours exceeds.
    #[error("it has more than {most} {what}, which is more than a profile of TrafficTrace has")]
    TooLarge {
        /// The limit.
        most: u64,
        /// The things of which there are too many.
        what: &'static str,
    },
    /// The profile would exceed the limit of memory for all profiles that are read together.
    #[error(
        "it and the profiles before it take more than {most} bytes of memory: read fewer of them at once"
    )]
    TooMany {
        /// The limit in bytes.
        most: u64,
    },
    /// The data is not in pprof's format.
    #[error("it is no pprof profile, or it is damaged: {0}")]
    Format(#[from] DecodeError),
    /// An id or index refers to nothing.
    #[error("it is damaged: there is no {what} {number}")]
    Dangling {
        /// Kind of the missing thing.
        what: &'static str,
        /// Its id or index.
        number: i128,
    },
    /// The profile was not made by TrafficTrace.
    #[error("it is not a profile of TrafficTrace: {0}")]
    Foreign(&'static str),
    /// The sums of the profile are too large.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

impl Graph {
    /// Reads a profile that [`Graph::pprof`] has written.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the data is anything else.
    pub fn from_pprof(bytes: &[u8]) -> Result<Self, ReadError> {
        Self::from_pprof_within(bytes, &mut Room::default())
    }

    /// Reads a profile from an API object, in base64. `room` limits the memory of several profiles together.
    ///
    /// # Errors
    ///
    /// Those of [`Graph::from_pprof_within`].
    pub fn from_base64_within(text: &str, room: &mut Room) -> Result<Self, ReadError> {
        Self::from_pprof_within(&STANDARD.decode(text)?, room)
    }

    /// Reads a profile. `room` limits the memory of several profiles together.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if [`Graph::pprof`] has not written the data, or if it exceeds `room`.
    pub fn from_pprof_within(bytes: &[u8], room: &mut Room) -> Result<Self, ReadError> {
        let mut plain = Vec::new();
        let read = MultiGzDecoder::new(bytes).take(MAX_SIZE + 1).read_to_end(&mut plain);
        read.map_err(ReadError::Gzip)?;
        if plain.len() as u64 > MAX_SIZE {
            return Err(ReadError::TooLarge { most: MAX_SIZE, what: "bytes" });
        }
        let mut of_this = room.of_next();
        let parts = Parts::read(&plain)?;
        let graph = Tables::new(&parts, &mut of_this)?.graph(&parts)?;
        room.take(&of_this);
        Ok(graph)
    }
}

/// The fields of a profile. Messages are decoded one at a time, so none of them takes much more memory than its bytes.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    value_types: Vec<ValueType>,
    samples: Vec<&'a [u8]>,
    mappings: Vec<Mapping>,
    locations: Vec<&'a [u8]>,
    functions: Vec<Function>,
    texts: Vec<&'a str>,
    began: i64,
    lasted: i64,
    comments: Vec<i64>,
}

impl<'a> Parts<'a> {
    fn read(mut rest: &'a [u8]) -> Result<Self, ReadError> {
        let mut parts = Self::default();
        let mut entries = 0;
        while !rest.is_empty() {
            let (field, value) = field(&mut rest)?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(ReadError::TooLarge { most: MAX_ENTRIES as u64, what: "entries" });
            }
            match (field, value) {
                (1, Value::Bytes(bytes)) => parts.value_types.push(message(bytes)?),
                (2, Value::Bytes(bytes)) => parts.samples.push(bytes),
                (3, Value::Bytes(bytes)) => parts.mappings.push(message(bytes)?),
                (4, Value::Bytes(bytes)) => parts.locations.push(bytes),
                (5, Value::Bytes(bytes)) => parts.functions.push(message(bytes)?),
                (6, Value::Bytes(bytes)) => parts.texts.push(text(bytes)?),
                // 64-bit numbers are signed in these fields.
                (9, Value::Number(number)) => parts.began = number as i64,
                (10, Value::Number(number)) => parts.lasted = number as i64,
                (13, Value::Number(number)) => parts.comments.push(number as i64),
                (13, Value::Bytes(mut packed)) => {
                    while !packed.is_empty() && parts.comments.len() <= MAX_COMMENTS {
                        parts.comments.push(number(&mut packed)? as i64);
                    }
                }
                _ => {}
            }
            if parts.comments.len() > MAX_COMMENTS {
                return Err(ReadError::TooLarge { most: MAX_COMMENTS as u64, what: "comments" });
            }
        }
        Ok(parts)
    }

    /// Returns an entry of the string table.
    pub(super) fn text(&self, number: i64) -> Result<&'a str, ReadError> {
        let at = usize::try_from(number).ok();
        at.and_then(|at| self.texts.get(at).copied())
            .ok_or(ReadError::Dangling { what: "text", number: number.into() })
    }

    fn about(&self) -> Result<(About, Option<Coverage>), ReadError> {
        let mut about = About { began: self.began.max(0), lasted: self.lasted.max(0), ..About::default() };
        let mut coverage = None;
        for comment in &self.comments {
            let line = self.text(*comment)?;
            if let Some(what) = line.strip_prefix(WHAT) {
                about.what = what.to_owned();
            } else if let Some(json) = line.strip_prefix(COVERAGE) {
                coverage = serde_json::from_str(json).ok();
            }
        }
        Ok((about, coverage))
    }
}

/// The value of a field in the encoding of protocol buffers. `Other` is a number of fixed size, which no field of a
/// profile has.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Removes the first field from `rest` and returns its number and value.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), ReadError> {
    let key = number(rest)?;
    let value = match key & 7 {
        0 => Value::Number(number(rest)?),
        1 => take(rest, 8).map(|_| Value::Other)?,
        2 => {
            let length = number(rest)?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Other)?,
        _ => return Err(ReadError::Foreign("it has fields of an unknown kind")),
    };
    Ok((key >> 3, value))
}

/// Removes `length` bytes from `rest`.
fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], ReadError> {
    let taken = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (taken, after) = taken.ok_or(ReadError::Foreign("it ends in the middle of an entry"))?;
    *rest = after;
    Ok(taken)
}

/// Removes a varint from `rest`.
fn number(rest: &mut &[u8]) -> Result<u64, ReadError> {
    Ok(prost::decode_length_delimiter(rest)? as u64)
}

fn message<T: Message + Default>(bytes: &[u8]) -> Result<T, ReadError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ReadError::TooLarge { most: MAX_MESSAGE as u64, what: "bytes in one entry" });
    }
    Ok(T::decode(bytes)?)
}

/// Returns bytes as text, which must be valid UTF-8 of at most [`MAX_TEXT`] bytes.
fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    if bytes.len() > MAX_TEXT {
        return Err(ReadError::TooLarge { most: MAX_TEXT as u64, what: "bytes in one text" });
    }
    str::from_utf8(bytes).map_err(|_| ReadError::Foreign("a text is not UTF-8"))
}

/// Functions by the ids of their locations, and processes by their owners, so that each is made once.
#[derive(Debug)]
struct Tables<'a, 'r> {
    /// Functions by location; `None` for the frames that identify a stack's owner.
    frames: HashMap<u64, Option<Arc<Frame>>>,
    processes: HashMap<Owner<'a>, Arc<Process>>,
    room: &'r mut OneRoom,
}

impl<'a, 'r> Tables<'a, 'r> {
    fn new(parts: &Parts<'a>, room: &'r mut OneRoom) -> Result<Self, ReadError> {
        let [calls, bytes] = parts.value_types[..] else {
            return Err(ReadError::Foreign("it has other numbers than calls and bytes"));
        };
        if parts.text(calls.kind)? != "calls" || parts.text(bytes.kind)? != "bytes" {
            return Err(ReadError::Foreign("it has other numbers than calls and bytes"));
        }
        let mut files = HashMap::new();
        for mapping in &parts.mappings {
            files.insert(mapping.id, parts.text(mapping.filename)?);
        }
        let mut names = HashMap::new();
        for function in &parts.functions {
            names.insert(function.id, parts.text(function.name)?);
        }
        let mut frames = HashMap::new();
        for bytes in &parts.locations {
            let location: Location = message(bytes)?;
            let frame = if location.mapping_id == 0 {
                room.thing(&[])?;
                None
            } else {
                let dangling = |what, number: u64| ReadError::Dangling { what, number: number.into() };
                let file = files
                    .get(&location.mapping_id)
                    .copied()
                    .ok_or_else(|| dangling("file", location.mapping_id))?;
                let function = location.line.first().map_or(0, |line| line.function_id);
                let name = names.get(&function).copied().ok_or_else(|| dangling("function", function))?;
                let (module, kind) = module_of(file);
                room.thing(&[name, module])?;
                Some(Arc::new(Frame { name: name.to_owned(), module: module.to_owned(), kind }))
            };
            frames.insert(location.id, frame);
        }
        Ok(Self { frames, processes: HashMap::new(), room })
    }

    fn graph(mut self, parts: &Parts<'a>) -> Result<Graph, ReadError> {
        let (about, coverage) = parts.about()?;
        let coverage = coverage.ok_or(ReadError::Foreign("it does not say how its stacks were taken"))?;
        let mut rows = Vec::new();
        for bytes in &parts.samples {
            rows.push(self.row(&message(bytes)?, parts)?);
        }
        Ok(Graph::new(about, rows, coverage)?)
    }

    fn row(&mut self, sample: &Sample, parts: &Parts<'a>) -> Result<Row, ReadError> {
        let [calls, bytes] = sample.value[..] else {
            return Err(ReadError::Foreign("a stack has other numbers than calls and bytes"));
        };
        let positive =
            |number: i64| u64::try_from(number).map_err(|_| ReadError::Foreign("a number is negative"));
        let (calls, bytes) = (positive(calls)?, positive(bytes)?);
        for (number, most, what) in [
            (sample.location_id.len(), MAX_DEPTH, "functions in one stack"),
            (sample.label.len(), MAX_LABELS, "labels of one stack"),
        ] {
            if number > most {
                return Err(ReadError::TooLarge { most: most as u64, what });
            }
        }
        let Labels { way, owner, thread, known } = Labels::read(&sample.label, parts)?;
        self.room.thing(&[thread, &known_name(&known)])?;
        let process = match self.processes.get(&owner) {
            Some(known) => Arc::clone(known),
            None => {
                self.room.thing(&[owner.pod, owner.container, owner.command])?;
                let process = Arc::new(owner.process());
                self.processes.insert(owner, Arc::clone(&process));
                process
            }
        };
        let mut frames = Vec::new();
        for id in sample.location_id.iter().rev() {
            let frame =
                self.frames.get(id).ok_or(ReadError::Dangling { what: "place", number: (*id).into() })?;
            if let Some(frame) = frame {
                self.room.frame(&frame.name)?;
                frames.push(Arc::clone(frame));
            }
        }
        let key = RowKey { way, process, thread: thread.into(), frames, known };
        Ok(Row { key, bytes, calls })
    }
}

fn module_of(file: &str) -> (&str, FrameKind) {
    for (mark, kind) in [(KERNEL, FrameKind::Kernel), (JIT, FrameKind::Jit)] {
        if let Some(module) = file.strip_prefix(mark) {
            return (module.strip_prefix(' ').unwrap_or(module), kind);
        }
    }
    (file, FrameKind::User)
}
