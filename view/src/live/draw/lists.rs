//! The tables of the tabs beside that of flows: HTTP endpoints and functions.

use ratatui::{buffer::Buffer, layout::Rect};
use traffictrace_crd::human::{count, printable};

use super::{layout::Layout, put, put_right};
use crate::{
    endpoints::Column as EndpointColumn,
    live::{
        app::{App, first_visible},
        lists::FunctionColumn,
        names::Kind,
        text::fit,
    },
    snapshot::Endpoint,
};

/// Width in columns of the mark before a line, with the blank behind it.
const MARKS: u16 = 2;
/// Minimum width in columns of the first column on a narrow screen and on others. The column takes all remaining room.
const NAME: (u16, u16) = (20, 36);
/// Width in columns below which a screen is narrow.
const NARROW: u16 = 60;
/// Number of columns of numbers that are more important than the texts beside the first column.
const FIRST: usize = 4;

/// The cells of a line: the name, texts that can be cut (the most important first), and numbers.
struct Cells {
    name: String,
    texts: Vec<String>,
    numbers: Vec<String>,
}

/// The headings of a table.
struct Heading<'a> {
    name: &'a str,
    texts: &'a [(&'a str, u16)],
    /// Columns of numbers, the most important first: name, width, and true if the table is sorted by the column.
    numbers: Vec<(&'a str, u16, bool)>,
    is_rising: bool,
}

impl App {
    pub(super) fn draw_endpoints(&self, layout: &Layout, buffer: &mut Buffer) {
        let Some(http) = self.table.as_ref().and_then(|table| table.snapshot.http.as_ref()) else { return };
        let ranked = [
            EndpointColumn::Requests,
            EndpointColumn::Errors,
            EndpointColumn::P50,
            EndpointColumn::P99,
            EndpointColumn::Max,
            EndpointColumn::P90,
            EndpointColumn::ResponseBytes,
            EndpointColumn::RequestBytes,
        ];
        let width = |column| match column {
            EndpointColumn::Requests | EndpointColumn::RequestBytes => 9,
            EndpointColumn::ResponseBytes => 10,
            EndpointColumn::Errors => 7,
            _ => 8,
        };
        let numbers = ranked.map(|column| (column.name(), width(column), column == self.http_order.0));
        let heading = Heading {
            name: "ENDPOINT",
            texts: &[("SERVED BY", 22), ("PROTOCOL", 9)],
            numbers: numbers.to_vec(),
            is_rising: self.http_order.1,
        };
        let cells = |at: usize| {
            let endpoint = http.endpoints.get(*self.endpoints.get(at)?)?;
            let numbers = ranked.map(|column| match column {
                EndpointColumn::Requests | EndpointColumn::Errors => count(column.of(endpoint)),
                EndpointColumn::RequestBytes | EndpointColumn::ResponseBytes => {
                    self.units.amount(column.of(endpoint))
                }
                _ => self.symbols.duration(column.of(endpoint)),
            });
            let texts = vec![self.served_by(endpoint), printable(&endpoint.protocol).into_owned()];
            Some(Cells { name: self.endpoint_name(endpoint), texts, numbers: numbers.to_vec() })
        };
        self.draw_list(layout, &heading, cells, buffer);
    }

    fn endpoint_name(&self, endpoint: &Endpoint) -> String {
        let name = |kind, name: &Option<String>| {
            name.as_ref().map(|name| self.names.shown(kind, name)).unwrap_or_default()
        };
        let method = printable(endpoint.method.as_deref().unwrap_or("(any)")).into_owned();
        let (host, path) = (name(Kind::Host, &endpoint.host), name(Kind::Path, &endpoint.path));
        let separator = if self.names.are_hidden && !path.is_empty() { "/" } else { "" };
        // A request whose two ends are traced has a row for each: the sign distinguishes the client's from the
        // server's.
        let sign = if endpoint.side == "Client" { self.symbols.to } else { self.symbols.from };
        format!("{sign} {method} {host}{separator}{path}")
    }

    fn served_by(&self, endpoint: &Endpoint) -> String {
        let owner = crate::rows::Owner {
            namespace: endpoint.namespace.clone(),
            pod: endpoint.pod.clone(),
            container: endpoint.container.clone(),
            command: endpoint.command.clone(),
            ..crate::rows::Owner::default()
        };
        let name = self.names.owner(&owner);
        // The traced process is the client, and the trace does not show which process serves the endpoint.
        if endpoint.side == "Client" { format!("asked by {name}") } else { name }
    }

    pub(super) fn draw_functions(&self, layout: &Layout, buffer: &mut Buffer) {
        let functions = self.table.as_ref().and_then(|table| table.snapshot.functions.as_ref());
        let Some(functions) = functions else { return };
        let ranked = [FunctionColumn::Bytes, FunctionColumn::Received, FunctionColumn::Sent];
        let width = if self.units == crate::units::Units::Exact { 16 } else { 10 };
        let mut numbers: Vec<_> =
            ranked.iter().map(|column| (column.name(), width, *column == self.function_order.0)).collect();
        numbers.insert(0, ("PART", 6, false));
        let heading = Heading {
            name: "FUNCTION",
            texts: &[("PROCESS", 16), ("FILE", 24)],
            numbers,
            is_rising: self.function_order.1,
        };
        let cells = |at: usize| {
            let function = self.functions.get(at)?;
            let share = FunctionColumn::Bytes.of(function) as f64 / functions.bytes.max(1) as f64 * 100.0;
            let mut numbers = vec![format!("{:.1}%", share.min(100.0))];
            numbers.extend(ranked.map(|column| self.units.amount(column.of(function))));
            let name = |kind, name: &Option<String>| {
                name.as_ref().map_or_else(|| "-".to_owned(), |name| self.names.shown(kind, name))
            };
            let texts = vec![name(Kind::Process, &function.command), name(Kind::Module, &function.module)];
            Some(Cells { name: self.names.shown(Kind::Function, &function.name), texts, numbers })
        };
        self.draw_list(layout, &heading, cells, buffer);
    }

    fn draw_list(
        &self,
        layout: &Layout,
        heading: &Heading<'_>,
        cells: impl Fn(usize) -> Option<Cells>,
        buffer: &mut Buffer,
    ) {
        let area = layout.headings;
        let least = if area.width < NARROW { NAME.0 } else { NAME.1 };
        let mut room = area.width.saturating_sub(MARKS + least + 1);
        let fits = |width: u16, room: &mut u16| {
            let is_fit = width < *room;
            *room -= if is_fit { width + 1 } else { 0 };
            is_fit
        };
        // The first numbers are more important than the texts; the other numbers are less important.
        let (first, others) = heading.numbers.split_at(heading.numbers.len().min(FIRST));
        let mut numbers = first.iter().take_while(|(_, width, _)| fits(*width, &mut room)).count();
        let texts = heading.texts.iter().take_while(|(_, width)| fits(*width, &mut room)).count();
        numbers += others.iter().take_while(|(_, width, _)| fits(*width, &mut room)).count();
        let name_width = least + room;
        let draw = |cells: &Cells, y: u16, style, buffer: &mut Buffer| {
            let row = Rect { x: area.x + MARKS, y, width: name_width, height: 1 };
            put(buffer, row, &fit(&cells.name, name_width.into(), self.symbols.ellipsis), style);
            let mut x = row.right() + 1;
            for ((_, width), text) in heading.texts.iter().take(texts).zip(&cells.texts) {
                let text = fit(text, usize::from(*width), self.symbols.ellipsis);
                put(buffer, Rect { x, width: *width, ..row }, &text, style);
                x += width + 1;
            }
            for ((_, width, _), text) in heading.numbers.iter().take(numbers).zip(&cells.numbers) {
                put_right(buffer, Rect { x, width: *width, ..row }, text, style, self.symbols.ellipsis);
                x += width + 1;
            }
        };
        let arrow = self.arrow(heading.is_rising);
        let titles = Cells {
            name: heading.name.to_owned(),
            texts: heading.texts.iter().map(|(name, _)| (*name).to_owned()).collect(),
            numbers: heading
                .numbers
                .iter()
                .map(
                    |(name, _, is_sorted)| {
                        if *is_sorted { format!("{name}{arrow}") } else { (*name).to_owned() }
                    },
                )
                .collect(),
        };
        draw(&titles, area.y, self.theme.strong(), buffer);
        let (body, list) = (layout.body, self.list());
        let number = self.number_of_lines(self.tab);
        let first = first_visible(list.first, list.at, body.height.into(), number);
        for (at, y) in (first..number).zip(body.y..body.bottom()) {
            let Some(cells) = cells(at) else { continue };
            draw(&cells, y, self.theme.plain(), buffer);
            if at == list.at {
                let line = Rect { y, height: 1, ..body };
                buffer
                    .set_style(Rect { x: line.x + 1, width: line.width - 1, ..line }, self.theme.selected());
                put(buffer, line, self.symbols.selected, self.theme.plain());
            }
        }
    }
}
