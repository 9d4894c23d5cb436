//! Draws what is known: lanes, alerts, and the selected lane in detail. The same drawing is printed by `--once`.

use std::time::Duration;

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use crate::cli::top::model::{Lane, Model, Rates};

/// Lines of the selected lane.
const DETAIL_HEIGHT: u16 = 7;
/// The most lines that `--once` prints.
const HEIGHT_MAX: u16 = 200;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame, model: &Model, address: &str, has_colour: bool) {
    let lanes = u16::try_from(model.state.lanes.len()).unwrap_or(u16::MAX);
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lanes.saturating_add(3).min(frame.area().height / 2)),
        Constraint::Length(DETAIL_HEIGHT),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [head, table, detail, alerts, foot] = parts.areas(frame.area());
    let paint = Paint { has_colour };
    frame.render_widget(Paragraph::new(header(model, address, paint)), head);
    draw_lanes(frame, table, model, paint);
    frame.render_widget(details(model), detail);
    frame.render_widget(alert_list(model, paint), alerts);
    let keys = "q quits, up and down select a lane";
    frame.render_widget(Paragraph::new(keys).style(paint.dim()), foot);
}

/// Returns the view as plain text of this width.
pub(super) fn text(model: &Model, width: u16) -> String {
    let lines = model.state.lanes.len() + 4 * model.alerts.active.len().max(1) + 20;
    let height = u16::try_from(lines).unwrap_or(HEIGHT_MAX).min(HEIGHT_MAX);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(drawn) = terminal.draw(|frame| draw(frame, model, "", false));
    let rows = drawn.buffer.content().chunks(usize::from(width));
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        let line = line.trim_end();
        // The last line names keys, and the rest of the frame is empty.
        if !line.starts_with("q quits") && !line.trim_matches(['│', ' ']).is_empty() {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Styles, or none where colours are not wanted.
#[derive(Clone, Copy)]
struct Paint {
    has_colour: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.has_colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn dim(self) -> Style {
        if self.has_colour {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        }
    }

    fn state(self, lane: &Lane) -> Style {
        let colour = match lane.state.as_str() {
            _ if lane.closed.is_some() => Color::Red,
            "steady" | "ramp" => Color::Green,
            "open" => Color::Red,
            "cold" | "probe" | "paused" | "quota" => Color::Yellow,
            _ => Color::Reset,
        };
        self.colour(colour)
    }

    fn severity(self, severity: &str) -> Style {
        let colour = if severity == "critical" {
            Color::Red
        } else {
            Color::Yellow
        };
        self.colour(colour).add_modifier(Modifier::BOLD)
    }
}

fn header<'a>(model: &'a Model, address: &'a str, paint: Paint) -> Line<'a> {
    if let Some(error) = &model.error {
        return Line::styled(error.to_string(), paint.severity("critical"));
    }
    if !model.is_known() {
        return Line::from(format!("{address} has not answered yet"));
    }
    let state = &model.state;
    let alerts = match model.alerts.active.len() {
        0 => "no alerts".to_owned(),
        1 => "1 alert".to_owned(),
        more => format!("{more} alerts"),
    };
    let restarts: u32 = state.actors.iter().map(|actor| actor.restarts).sum();
    let waiting: u64 = state.actors.iter().map(|actor| actor.mailbox).sum();
    let text = format!(
        "kebne {} {address}  up {}  {alerts}  {} actors, {restarts} restarts, {waiting} messages waiting{}",
        state.version,
        spoken(Duration::from_secs(state.uptime_seconds)),
        state
            .actors
            .iter()
            .filter(|actor| !actor.path.is_empty())
            .count(),
        if state.draining { "  draining" } else { "" },
    );
    Line::from(Span::raw(text))
}

fn draw_lanes(frame: &mut Frame, area: Rect, model: &Model, paint: Paint) {
    let names = [
        "lane",
        "state",
        "limit",
        "running",
        "waiting",
        "held",
        "ok/s",
        "failed/s",
        "refused/s",
        "latency",
    ];
    let rows = model.state.lanes.iter().map(|lane| {
        let rates = model.rates.get(&lane.name).copied().unwrap_or_default();
        Row::new(lane_cells(lane, rates, paint))
    });
    let mut widths = [Constraint::Length(9); 10];
    widths[0] = Constraint::Min(16);
    let table = Table::new(rows, widths)
        .header(Row::new(names).style(paint.dim()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::ALL).title("Lanes"));
    let mut selected = TableState::new().with_selected(model.selected);
    frame.render_stateful_widget(table, area, &mut selected);
}

fn lane_cells(lane: &Lane, rates: Rates, paint: Paint) -> Vec<Cell<'_>> {
    let state = if lane.closed.is_some() {
        "closed"
    } else {
        lane.state.as_str()
    };
    let rate = |rate: f64| Cell::from(format!("{rate:.1}"));
    let failed = if rates.failed > 0.0 {
        paint.colour(Color::Red)
    } else {
        Style::new()
    };
    vec![
        Cell::from(lane.name.as_str()),
        Cell::from(state).style(paint.state(lane)),
        Cell::from(format!("{:.1}", lane.controller.limit)),
        Cell::from(lane.pool.in_flight.to_string()),
        Cell::from(lane.pool.queued.to_string()),
        Cell::from(lane.pool.held.to_string()),
        rate(rates.succeeded),
        rate(rates.failed).style(failed),
        rate(rates.refused),
        Cell::from(
            lane.controller
                .latency
                .map_or_else(|| "-".to_owned(), spoken),
        ),
    ]
}

fn details(model: &Model) -> Paragraph<'_> {
    let Some(lane) = model.state.lanes.get(model.selected) else {
        return Paragraph::new("").block(Block::new().borders(Borders::ALL));
    };
    let mut lines = Vec::new();
    if let Some(reason) = &lane.closed {
        lines.push(Line::from(format!("closed: {reason}")));
    }
    let loads = lane
        .controller
        .load_time_p50
        .map_or_else(|| "not known".to_owned(), spoken);
    lines.push(Line::from(format!("usual load time: {loads}")));
    let changes = lane
        .state_changes
        .iter()
        .rev()
        .take(5)
        .cloned()
        .collect::<Vec<_>>();
    lines.push(Line::from(format!(
        "last changes of state, the newest first: {}",
        changes.join(", ")
    )));
    if let Some(failure) = &lane.last_failure {
        let age = spoken(Duration::from_millis(failure.age_ms));
        lines.push(Line::from(format!(
            "last failure, {age} ago: {}",
            failure.message
        )));
    }
    let block = Block::new().borders(Borders::ALL).title(lane.name.as_str());
    Paragraph::new(lines).wrap(Wrap { trim: true }).block(block)
}

fn alert_list(model: &Model, paint: Paint) -> Paragraph<'_> {
    let mut lines = Vec::new();
    for alert in &model.alerts.active {
        let severity = Span::styled(alert.severity.as_str(), paint.severity(&alert.severity));
        lines.push(Line::from(vec![
            severity,
            Span::raw(": "),
            Span::raw(alert.sentence.as_str()),
        ]));
        lines.push(Line::from(format!("  do: {}", alert.action)));
    }
    if lines.is_empty() && model.is_known() {
        lines.push(Line::from("Nothing is wrong."));
    }
    let block = Block::new().borders(Borders::ALL).title("Alerts");
    Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(block)
}

/// Writes a duration in its largest unit.
fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::model::{Alerts, State};

    fn model() -> Model {
        let state = r#"{"version": "1", "uptime_seconds": 61, "lanes": [
            {"name": "gpu-1", "state": "steady", "controller": {"limit": 12.0}, "pool": {"queued": 7, "in_flight": 12}},
            {"name": "gpu-2", "state": "open", "closed": "closed by an operator",
                "last_failure": {"message": "connection refused", "age_ms": 1500}}]}"#;
        let alerts = r#"{"active": [{"severity": "critical", "sentence": "It is down.", "action": "Start it."}]}"#;
        let mut model = Model::default();
        let state: State = serde_json::from_str(state).unwrap();
        let alerts: Alerts = serde_json::from_str(alerts).unwrap();
        model.take(Ok((state, alerts)));
        model
    }

    /// Returns how many cells of the view have a colour.
    fn coloured(has_colour: bool) -> usize {
        let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
        let model = model();
        let drawn = terminal
            .draw(|frame| draw(frame, &model, "", has_colour))
            .unwrap();
        let cells = drawn.buffer.content().iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    }

    #[test]
    fn before_the_first_answer_nothing_is_said_of_the_gateway() {
        let mut model = Model::default();
        let shown = text(&model, 100);
        assert!(shown.contains("has not answered yet"), "{shown}");
        assert!(
            !shown.contains("Nothing is wrong") && !shown.contains("alerts"),
            "{shown}"
        );
        model.take(Err(crate::cli::top::TopError::Address("x".to_owned())));
        assert!(!text(&model, 100).contains("Nothing is wrong"));
        model.take(Ok((State::default(), Alerts::default())));
        assert!(text(&model, 100).contains("Nothing is wrong."));
    }

    #[test]
    fn there_is_no_colour_where_none_is_wanted() {
        assert_eq!(coloured(false), 0);
        assert!(coloured(true) > 10);
    }

    #[test]
    fn the_selected_lane_is_shown_in_detail() {
        let mut model = model();
        assert!(!text(&model, 100).contains("connection refused"));
        model.select(true);
        model.select(true);
        let shown = text(&model, 100);
        assert!(
            shown.contains("last failure, 1 s ago: connection refused"),
            "{shown}"
        );
        assert!(shown.contains("closed: closed by an operator"), "{shown}");
        model.select(false);
        assert_eq!(model.selected, 0);
    }

    #[test]
    fn a_gateway_that_no_longer_answers_is_named_and_a_narrow_terminal_is_no_fault() {
        let mut model = model();
        model.take(Err(crate::cli::top::TopError::Address("x".to_owned())));
        assert!(text(&model, 100).contains("`x` is not an address"));
        for width in [1, 10, 40] {
            text(&model, width);
        }
    }
}
