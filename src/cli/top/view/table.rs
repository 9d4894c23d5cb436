//! The table of the lanes. In a narrow terminal it has fewer columns, and long names lack their middle.

use std::collections::BTreeMap;

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Color, Modifier, Style},
    widgets::{Block, Borders, Cell, Row, Table, TableState},
};

use crate::cli::top::{
    model::{Lane, Model, Rates, Times},
    view::{Paint, took},
};

/// The least width of the table with all columns.
const WIDE: u16 = 100;
/// The least width of the column with the names.
const NAME_WIDTH_MIN: u16 = 8;

/// A column of the table beside the name of the lane.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    width: u16,
    /// `true` if it is left out where there is no room for all.
    is_extra: bool,
    cell: MakeCell,
}

/// Makes a cell of a lane.
type MakeCell = fn(&Lane, Rates, Times, Paint) -> Cell<'static>;

const fn column(name: &'static str, width: u16, cell: MakeCell) -> Column {
    Column {
        name,
        width,
        is_extra: false,
        cell,
    }
}

impl Column {
    const fn extra(self) -> Self {
        Self {
            is_extra: true,
            ..self
        }
    }
}

/// The columns of the table.
const COLUMNS: [Column; 10] = [
    column("state", 9, |lane, _, _, paint| {
        Cell::from(state(lane).to_owned()).style(paint.state(lane))
    }),
    column("limit", 6, |lane, _, _, _| {
        Cell::from(format!("{:.1}", lane.controller.limit))
    }),
    column("running", 7, |lane, _, _, _| {
        Cell::from(lane.pool.in_flight.to_string())
    }),
    column("waiting", 7, |lane, _, _, _| {
        Cell::from(lane.pool.queued.to_string())
    }),
    column("held", 7, |lane, _, _, _| {
        Cell::from(lane.pool.held.to_string())
    })
    .extra(),
    column("ok/s", 6, |_, rates, _, _| rate(rates.succeeded)),
    column("failed/s", 8, |_, rates, _, paint| {
        let style = if rates.failed > 0.0 {
            paint.colour(Color::Red)
        } else {
            Style::new()
        };
        rate(rates.failed).style(style)
    }),
    column("refused/s", 9, |_, rates, _, _| rate(rates.refused)),
    column("1st token", 9, |_, _, times, _| time(times.first_token_ms)).extra(),
    column("answer", 7, |_, _, times, _| time(times.whole_ms)).extra(),
];
/// Draws the table.
pub(super) fn draw(frame: &mut Frame, area: Rect, model: &Model, paint: Paint) {
    let is_wide = area.width >= WIDE;
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|column| is_wide || !column.is_extra)
        .collect();
    let taken = columns.iter().map(|column| column.width + 1).sum::<u16>();
    // The frame takes two.
    let name_width = usize::from(area.width.saturating_sub(taken + 2).max(NAME_WIDTH_MIN));
    let names = std::iter::once("lane").chain(columns.iter().map(|column| column.name));
    let widths = columns
        .iter()
        .map(|column| Constraint::Length(column.width));
    let widths = std::iter::once(Constraint::Min(NAME_WIDTH_MIN)).chain(widths);
    let rows = model.state.lanes.iter().map(|lane| {
        let rates = model.rates.get(&lane.name).copied().unwrap_or_default();
        let name = Cell::from(shortened(&lane.name, name_width));
        let times = model.state.times_of(&lane.name);
        let cells = columns
            .iter()
            .map(|column| (column.cell)(lane, rates, times, paint));
        Row::new(std::iter::once(name).chain(cells))
    });
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(paint.dim()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(
            Block::new()
                .borders(Borders::ALL)
                .title(title(&model.state.lanes)),
        );
    let mut selected = TableState::new().with_selected(model.selected);
    frame.render_stateful_widget(table, area, &mut selected);
}

/// Returns the number of lanes and how many are in each state: not all of them may be in sight.
fn title(lanes: &[Lane]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for lane in lanes {
        *counts.entry(state(lane)).or_default() += 1;
    }
    let counts = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    format!("Lanes: {counts}")
}

fn state(lane: &Lane) -> &str {
    if lane.stale {
        "no answer"
    } else if lane.closed.is_some() {
        "closed"
    } else {
        match lane.service.as_str() {
            "" | "open" => &lane.state,
            service => service,
        }
    }
}

/// Returns a name that is as long as its column: without its middle, because the names of replicas differ at their ends.
fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = name.chars().take(kept / 2);
    let tail = name.chars().skip(length - (kept - kept / 2));
    head.chain(std::iter::once('…')).chain(tail).collect()
}

fn time(milliseconds: Option<f64>) -> Cell<'static> {
    Cell::from(milliseconds.map_or_else(|| "-".to_owned(), took))
}

fn rate(rate: f64) -> Cell<'static> {
    Cell::from(format!("{rate:.1}"))
}
