//! The flame graph: one SVG file that can be searched and zoomed without other files, drawn by inferno.

mod colors;

use std::{io, time::Duration};

use inferno::flamegraph::{
    Options, TextTruncateDirection,
    color::{BackgroundColor, Color, PaletteMap},
    from_lines,
};
use jiff::Timestamp;
use traffictrace_crd::human;

use self::colors::Group;
use super::{By, Graph, Row, Way, coverage::share, folded::root_frames, names};

/// Minimum widths of a frame, in percent of the picture. The first one that makes the picture small enough is used, else
/// the last.
const MIN_WIDTHS: [f64; 5] = [0.01, 0.03, 0.1, 0.3, 1.0];
/// Maximum size of a picture in bytes, with which browsers are still quick.
const MAX_SIZE: usize = 8 << 20;
/// Maximum length of the title in characters: it must fit between the two buttons of a picture 1,000 pixels wide.
const MAX_TITLE: usize = 92;

/// A picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// Nothing was counted.
    #[error("no {0} were counted, so there is nothing to draw: trace for longer, while there is traffic")]
    Nothing(&'static str),
    /// The drawing library failed.
    #[error("cannot draw the picture: {0}")]
    Library(#[from] io::Error),
}

impl Graph {
    /// Draws the picture: bytes sent and received as two trees, side by side.
    ///
    /// # Errors
    ///
    /// [`DrawError`] if there is nothing to draw.
    pub fn svg(&self, by: By) -> Result<String, DrawError> {
        self.svg_within(by, MAX_SIZE)
    }

    /// Draws the picture in about `max` bytes, by leaving out the narrowest frames. The picture is larger than `max` if even
    /// its widest frames take more.
    ///
    /// # Errors
    ///
    /// [`DrawError`] if there is nothing to draw.
    pub fn svg_within(&self, by: By, max: usize) -> Result<String, DrawError> {
        let unit = match by {
            By::Bytes => "bytes",
            By::Calls => "calls",
        };
        let mut palette = PaletteMap::default();
        // inferno adds a root frame, which it shows as `all`, and looks up its colour under an empty name.
        palette.insert("", Group::Owner.color(""));
        let mut stacks: Vec<(String, u64)> = self
            .rows()
            .iter()
            .filter(|row| row.value(by) > 0)
            .map(|row| (stack(row, &mut palette), row.value(by)))
            .collect();
        if stacks.is_empty() {
            return Err(DrawError::Nothing(unit));
        }
        // The library needs lines sorted by their stacks alone; with its number, a line might sort differently.
        stacks.sort();
        let lines: Vec<String> = stacks.iter().map(|(stack, value)| format!("{stack} {value}")).collect();
        let mut svg = Vec::new();
        for min_width in MIN_WIDTHS {
            let mut options = Options::default();
            options.title = self.title(by);
            options.subtitle = Some(self.subtitle());
            options.count_name = unit.to_owned();
            options.name_type = String::new();
            options.min_width = min_width;
            options.no_sort = true;
            options.text_truncate_direction = TextTruncateDirection::Right;
            options.bgcolors = Some(BackgroundColor::Flat(Color::new(252, 252, 252)));
            options.palette_map = Some(&mut palette);
            svg.clear();
            from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
            if svg.len() <= max {
                break;
            }
        }
        let svg = String::from_utf8(svg).map_err(io::Error::other)?;
        let svg = with_legend(with_style(with_width(&svg)));
        Ok(if by == By::Bytes { with_sizes(&svg) } else { svg })
    }

    fn title(&self, by: By) -> String {
        let value = |way| {
            let value = self.total(way, by);
            match by {
                By::Bytes => human::bytes(value),
                By::Calls => format!("{} calls", human::count(value)),
            }
        };
        let what = names::frame(&self.about.what);
        let what = if self.about.what.is_empty() { "traffic" } else { &what };
        let mut title = format!("{} sent, {} received by {what}", value(Way::Sent), value(Way::Received));
        if let Some((cut, _)) = title.char_indices().nth(MAX_TITLE) {
            title.truncate(cut);
            title.push('…');
        }
        title
    }

    fn subtitle(&self) -> String {
        let mut parts = Vec::new();
        if let Ok(began) = Timestamp::from_nanosecond(self.about.began.into())
            && self.about.began > 0
        {
            parts.push(began.strftime("%F %T UTC").to_string());
        }
        if let Ok(nanos) = u64::try_from(self.about.lasted)
            && nanos > 0
        {
            parts.push(format!("{:.1} s", Duration::from_nanos(nanos).as_secs_f64()));
        }
        let (coverage, all) = (&self.coverage, self.coverage.bytes());
        parts.push(format!("{} at their own call", share(coverage.own, all)));
        parts.push(format!("{} without stack", share(coverage.without_stack(), all)));
        parts.extend(colors::LEGEND.iter().map(|(_, name)| mark(name)));
        parts.join(" · ")
    }
}

/// Makes an entry of the legend, for the subtitle.
fn mark(name: &str) -> String {
    format!("■ {name}")
}

/// Returns the frames of a row, separated by `;`. Each frame ends with the suffix of its group ([`Group::suffix`]),
/// which inferno does not show.
fn stack(row: &Row, palette: &mut PaletteMap) -> String {
    let mut line = String::new();
    let mut push = |name: &str, group: Group| {
        if !line.is_empty() {
            line.push(';');
        }
        let begin = line.len();
        line.push_str(&names::frame(name));
        line.push_str(group.suffix());
        let frame = &line[begin..];
        if palette.get(frame).is_none() {
            palette.insert(frame, group.color(name));
        }
    };
    root_frames(row).for_each(|name| push(&name, Group::Owner));
    if let Some(name) = row.key.known.frame() {
        push(&name, Group::NoStack);
    }
    row.key.frames.iter().for_each(|frame| push(&frame.name, frame.kind.into()));
    line
}

/// Changes the library's style sheet: a smaller title, and a search button that is easier to see.
fn with_style(svg: String) -> String {
    svg.replacen("font-size:17px", "font-size:14px; font-weight:bold", 1).replacen(
        "opacity:0.1",
        "opacity:0.7",
        1,
    )
}

/// Changes the library's script, which divides by the picture's width: the width must not be 0 or negative, as it is in
/// a frame that the page has not laid out yet.
fn with_width(svg: &str) -> String {
    const WIDTH: &str = "svg.width.baseVal.value - xpad * 2";
    svg.replacen(WIDTH, &format!("Math.max(1, {WIDTH})"), 1)
}

/// Colours the entries of the legend in the subtitle.
fn with_legend(svg: String) -> String {
    let Some(at) = svg.find("id=\"subtitle\"") else { return svg };
    let (before, after) = svg.split_at(at);
    let mut after = after.to_owned();
    for (group, name) in colors::LEGEND {
        let Color { r, g, b } = group.color(name);
        let colored = format!("<tspan fill=\"rgb({r},{g},{b})\">■</tspan> {name}");
        after = after.replacen(&mark(name), &colored, 1);
    }
    format!("{before}{after}")
}

/// Adds a readable size before each number of bytes in the tooltips: `write (1.2 MiB = 1,234,567 bytes, 12.34%)`.
fn with_sizes(svg: &str) -> String {
    const END: &str = "</title>";
    let mut sized = String::with_capacity(svg.len() + svg.len() / 8);
    for piece in svg.split_inclusive(END) {
        let size = piece.ends_with(END).then(|| piece.rfind(" (")).flatten().and_then(|at| {
            let at = at + " (".len();
            let number = piece[at..].split(' ').next()?;
            let bytes: u64 = number.replace(',', "").parse().ok()?;
            (bytes >= 1024).then(|| (at, human::bytes(bytes)))
        });
        match size {
            Some((at, size)) => {
                sized.extend([&piece[..at], &size, " = ", &piece[at..]]);
            }
            None => sized.push_str(piece),
        }
    }
    sized
}

#[cfg(test)]
mod tests;
