//! Draws what is known: lanes, alerts, and the selected lane in detail. The same drawing is printed by `--once`.

mod table;

use std::time::Duration;

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Wrap},
};

use crate::cli::top::model::{Lane, Model};

/// Lines of the selected lane, and of a terminal with fewer lines than [`LOW`].
const DETAIL_HEIGHT: [u16; 2] = [7, 6];
const LOW: u16 = 30;
/// The most lines that `--once` prints.
const HEIGHT_MAX: u16 = 200;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame, model: &Model, address: &str, has_colour: bool) {
    let height = frame.area().height;
    let lanes = u16::try_from(model.state.lanes.len()).unwrap_or(u16::MAX);
    let [detail_height, low_height] = DETAIL_HEIGHT;
    let alerts_height = alerts_height(model, frame.area().width);
    let alerts_height = alerts_height.min(height / 3).max(3);
    let is_low = height < LOW;
    let detail_height = if is_low { low_height } else { detail_height };
    let rest = height.saturating_sub(2 + detail_height + alerts_height);
    let parts = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lanes.saturating_add(3).min(rest)),
        Constraint::Length(detail_height),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [head, lanes, detail, alerts, foot] = parts.areas(frame.area());
    let paint = Paint { has_colour };
    frame.render_widget(Paragraph::new(header(model, address, paint)), head);
    table::draw(frame, lanes, model, paint);
    frame.render_widget(details(model), detail);
    frame.render_widget(alert_list(model, paint), alerts);
    let keys = "q quits, up and down select a lane";
    frame.render_widget(Paragraph::new(keys).style(paint.dim()), foot);
}

/// Returns the lines that the alerts need in a frame of this width.
fn alerts_height(model: &Model, width: u16) -> u16 {
    let width = usize::from(width.saturating_sub(2)).max(1);
    let lines = |text: &str, before: usize| (before + text.chars().count()).div_ceil(width);
    let alerts = model.alerts.active.iter();
    let alerts = alerts.map(|alert| lines(&alert.sentence, 10) + lines(&alert.action, 6));
    let actions = model.alerts.in_force().map(|action| {
        let command = action.command.as_deref().unwrap_or_default();
        let before = 12 + action.kind.len() + action.subject.chars().count();
        lines(&action.reason, before) + lines(command, 8)
    });
    let needed = alerts.sum::<usize>() + actions.sum::<usize>();
    u16::try_from(needed.saturating_add(2)).unwrap_or(u16::MAX)
}

/// Returns the view as plain text of this width.
pub(super) fn text(model: &Model, width: u16) -> String {
    // Room for all lanes above the third of the alerts, and for all alerts. Empty lines are left out below.
    let lanes = model.state.lanes.len();
    let alerts = usize::from(alerts_height(model, width));
    let lines = (3 * (lanes + 12) / 2 + 1)
        .max(lanes + 14 + alerts)
        .max(3 * alerts);
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
            _ if lane.stale || lane.closed.is_some() => Color::Red,
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
        "kebne {} {address}  up {}{}  {alerts}  {} actors, {restarts} restarts, {waiting} messages waiting",
        state.version,
        spoken(Duration::from_secs(state.uptime_seconds)),
        if state.draining { "  draining" } else { "" },
        state
            .actors
            .iter()
            .filter(|actor| !actor.path.is_empty())
            .count(),
    );
    Line::from(Span::raw(text))
}

fn details(model: &Model) -> Paragraph<'_> {
    let Some(lane) = model.state.lanes.get(model.selected) else {
        return Paragraph::new("").block(Block::new().borders(Borders::ALL));
    };
    let mut lines = Vec::new();
    if lane.stale {
        let age = spoken(Duration::from_millis(lane.age_ms));
        let text = format!("its actors have not answered for {age}; what is shown is from then");
        lines.push(Line::from(text));
    }
    if let Some(reason) = &lane.closed {
        lines.push(Line::from(format!("closed: {reason}")));
    }
    let loads = lane
        .controller
        .load_time_p50
        .map_or_else(|| "not known".to_owned(), spoken);
    let times = model.state.times_of(&lane.name);
    let known = |time: Option<f64>| time.map_or_else(|| "not known".to_owned(), took);
    lines.push(Line::from(format!(
        "last answers: first token after {}, whole after {}; usual load time: {loads}",
        known(times.first_token_ms),
        known(times.whole_ms),
    )));
    let changes = lane
        .state_changes
        .iter()
        .rev()
        .take(5)
        .cloned()
        .collect::<Vec<_>>();
    if !changes.is_empty() {
        lines.push(Line::from(format!(
            "last changes of state, the newest first: {}",
            changes.join(", ")
        )));
    }
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
    for action in model.alerts.in_force() {
        let what = format!("{} `{}`: {}", action.kind, action.subject, action.reason);
        lines.push(Line::from(vec![
            Span::styled("done: ", paint.severity("")),
            Span::raw(what),
        ]));
        if let Some(command) = &action.command {
            lines.push(Line::from(format!("  undo: {command}")));
        }
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

/// Writes the time of an answer: milliseconds below a second, then tenths of seconds.
fn took(milliseconds: f64) -> String {
    match milliseconds {
        ..100.0 => format!("{milliseconds:.1} ms"),
        100.0..1000.0 => format!("{milliseconds:.0} ms"),
        1000.0..100_000.0 => format!("{:.1} s", milliseconds / 1000.0),
        _ => format!("{:.0} s", milliseconds / 1000.0),
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
                "last_failure": {"message": "connection refused", "age_ms": 1500}}],
            "times": {"gpu-1": {"first_token_ms": 184.2, "whole_ms": 1260.0}, "gpu-2": {"whole_ms": null}}}"#;
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
    fn the_times_of_answers_are_those_that_callers_see() {
        let shown = text(&model(), 120);
        let row = shown.lines().find(|line| line.contains("gpu-1")).unwrap();
        assert!(row.contains("184 ms") && row.contains("1.3 s"), "{shown}");
        let detail = "first token after 184 ms, whole after 1.3 s";
        assert!(shown.contains(detail), "{shown}");
        let unknown = shown.lines().find(|line| line.contains("gpu-2"));
        assert!(unknown.unwrap().contains("-         -"), "{shown}");
        assert_eq!([took(0.5), took(250_000.0)], ["0.5 ms", "250 s"]);
    }

    #[test]
    fn what_the_gateway_did_is_shown_with_the_command_that_undoes_it() {
        let mut model = model();
        let alerts = r#"{"actions": [
            {"kind": "take_out", "subject": "gpu-1", "reason": "It fails.", "state": "active", "command": "curl x"},
            {"kind": "prewarm", "subject": "gpu-2", "reason": "A peak.", "state": "over"}]}"#;
        model.alerts = serde_json::from_str(alerts).unwrap();
        let shown = text(&model, 100);
        assert!(
            shown.contains("done: take_out `gpu-1`: It fails."),
            "{shown}"
        );
        assert!(shown.contains("undo: curl x"), "{shown}");
        // What is printed once is printed to its end.
        let long = "word ".repeat(200) + "last";
        model.alerts.actions[0].reason.clone_from(&long);
        model.alerts.actions[0].command = Some(long);
        let shown = text(&model, 100);
        assert_eq!(shown.matches("last").count(), 3, "{shown}");
        assert!(
            !shown.contains("A peak.") && !shown.contains("Nothing is wrong"),
            "{shown}"
        );
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
    fn a_low_and_narrow_terminal_shows_the_states_of_all_lanes_and_an_alert() {
        let mut model = model();
        let lane = |number: usize| Lane {
            name: format!("llama-3.1-70b-instruct-gpu-{number}"),
            state: "steady".to_owned(),
            ..Lane::default()
        };
        model.state.lanes.extend((0..20).map(lane));
        model.state.lanes[0].stale = true;
        model.state.lanes[0].age_ms = 12_300;
        model.state.lanes[7].service = "drained".to_owned();
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let drawn = terminal.draw(|frame| draw(frame, &model, "", false));
        let rows = drawn.unwrap().buffer.content().chunks(80);
        let rows: Vec<String> = rows
            .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect())
            .collect();
        let shown = rows.join("\n");
        for wanted in [
            "Lanes: 1 closed, 1 drained, 1 no answer, 19 steady",
            "│llama-3.1…uct-gpu-2",
            "refused/s",
            "not answered for 12 s",
            "critical: It is down.",
            "do: Start it.",
        ] {
            assert!(shown.contains(wanted), "no `{wanted}` in\n{shown}");
        }
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
